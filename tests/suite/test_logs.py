import os
import signal
import threading

import pytest

from mae_bench.core.owner import this_process
from mae_bench.core.turns import take
from mae_bench.suite.attempts import ATTEMPTS
from mae_bench.suite.logs import last_lines, new_lines, readable
from mae_bench.suite.store import FAILURE, LOG

BEGINS = "2026-01-01 __main__: attempt 2 begins: process 7 on node, since noon"


@pytest.fixture
def folder(build_suite, ground_of):
    """Return the folder of a job that is prepared."""
    ground = ground_of(build_suite())
    return ground.store.prepare(ground.plan.jobs[0], None)


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("a\rab\rabc", "abc"),
        ("100%|##| 5/5\r", "100%|##| 5/5"),
        ("\x1b[31mred\x1b[0m\x1b[2K text", "red text"),
        ("\x1b]0;title\x07 bell\x08", "0;title� bell�"),
        ("tab\tstays ", "tab\tstays"),
        ("", ""),
    ],
)
def test_a_line_is_shown_as_it_looked_in_the_end(line, seen):
    assert readable(line) == seen


def test_the_end_of_a_large_log_is_found_across_blocks(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("".join(f"line {n} {'x' * 500}\n" for n in range(2000)) + "half")
    lines, end = last_lines(log, 300)
    assert [line.split()[:2] for line in lines[:-1]] == [
        ["line", str(n)] for n in range(1701, 2000)
    ]
    assert lines[-1] == "half"
    assert end == log.stat().st_size
    assert last_lines(log, 0)[0] == []


def test_only_whole_lines_are_new(tmp_path):
    log = tmp_path / "log.txt"
    assert new_lines(log, 0) == ([], 0)
    log.write_bytes(b"one\ntwo\nthr")
    assert new_lines(log, 4) == (["two"], 8)
    log.write_bytes(b"one\ntwo\nthree\xff\n")
    assert new_lines(log, 8) == (["three�"], 15)


def test_the_last_lines_are_printed_and_attempts_are_marked(folder, call):
    (folder / LOG).write_text(f"old\nbar 1%\rbar 99%\n{BEGINS}\nnew\n")
    answer = call("logs", folder.name, "-n", "3")
    assert answer.code == 0
    assert answer.lines == [
        "bar 99%",
        "──── attempt 2: process 7 on node, since noon ────",
        "new",
    ]
    assert call("logs", folder).out == call("logs", "counting").out


def test_following_goes_over_attempts_until_the_job_ends(folder, call):
    log = folder / LOG
    log.write_text("begin\n")
    first = take(folder / ATTEMPTS, 0, this_process())

    def live():
        with log.open("a") as stream:
            stream.write("first\n")
        first.end("stopped")
        second = take(folder / ATTEMPTS, 1, this_process())
        with log.open("a") as stream:
            stream.write(f"{BEGINS}\nwrong\n")
        (folder / FAILURE).write_text('{"message": "ValueError: no"}')
        second.end("failed")

    thread = threading.Timer(0.5, live)
    thread.start()
    answer = call("logs", "counting", "-f")
    thread.join()
    assert answer.code == 1
    assert answer.lines[:2] == ["begin", "first"]
    assert answer.lines[2].startswith("──── attempt 2")
    assert answer.lines[3:] == ["wrong"]
    assert "failed ValueError: no" in answer.err


def test_following_a_job_that_is_done_shows_all_it_printed_and_ends_with_0(three, call):
    answer = call("logs", "Good", "reading", "-f")
    assert answer.code == 0
    assert answer.lines[0].startswith("──── attempt 1: process ")
    assert "done: {'score': 50.0}" in answer.lines[-1]


def test_nobody_at_work_is_said_and_ctrl_c_ends_following(folder, call):
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        answer = call("logs", "counting", "-f")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert answer.code == 0
    assert "printed nothing yet" in answer.err
    assert answer.err.count("nothing runs the job now") == 1


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "logs needs a job"),
        (["none"], "unknown job 'none'"),
        (["counting", "-n", "-1"], "--lines must be >= 0"),
        ([".."], "unknown job '..'"),
        (["../x"], "no such job folder"),
        ([os.sep], "is no job's folder"),
    ],
)
def test_what_is_no_job_has_no_log(folder, call, words, part):
    answer = call("logs", *words)
    assert answer.code == 2
    assert part in answer.err
