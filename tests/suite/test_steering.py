"""Jobs are cancelled, rest, and are started again: with real runs in processes of their own."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import LIMIT_S, wait_for

from mae_bench.core.owner import Owner, this_process
from mae_bench.core.turns import take
from mae_bench.suite.attempts import ATTEMPTS, STARTING
from mae_bench.suite.store import CANCELLED, FAILURE, Store

DRIVE = Path(__file__).with_name("drive.py")


@pytest.fixture
def drive(tmp_path):
    """Return a function that starts the trial suite in a process; it is killed with the test."""
    started = []

    def start(**fields):
        run = subprocess.Popen(
            [sys.executable, DRIVE, tmp_path / "runs", json.dumps(fields)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(run)
        return run

    yield start
    for run in started:
        run.kill()
        run.wait()


def paused_in(store):
    return [path for path in store.glob("*/paused") if path.read_text()]


def states(call, *words):
    jobs = json.loads(call("status", "--json", *words).out)["jobs"]
    return {(one["row"], one["recipe"]): one["state"] for one in jobs}


def test_a_cancelled_job_saves_itself_rests_and_goes_on_when_a_later_run_asks(
    drive, call, write_suite, tmp_path
):
    fields = {"steps": 6, "pause_at": 3}
    path = write_suite({"Good": fields}, {"reading": fields})
    run = drive(**fields)
    (marker,) = wait_for(lambda: paused_in(tmp_path / "runs"))
    answer = call("cancel", marker.parent.name[:6])
    assert answer.code == 0
    assert f"process {marker.read_text()} was told to save and end" in answer.out
    assert run.wait(LIMIT_S) == 1
    out = run.stdout.read()
    assert "cancelled Good · counting · seed 0" in out
    assert "blocked   Good · reading · seed 0" in out
    assert states(call, "--suite", path) == {
        ("Good", "counting"): "cancelled",
        ("Good", "reading"): "blocked",
    }
    assert drive(**fields | {"pause_at": 3}).poll() is None  # asks for it anew
    marker2 = wait_for(lambda: [m for m in paused_in(tmp_path / "runs") if m != marker])[0]
    assert [int(n) for n in (marker.parent / "steps.txt").read_text().split()] == [1, 2, 3, 4, 5, 6]
    assert states(call)[("Good", "counting")] == "done"
    os.kill(int(marker2.read_text()), signal.SIGKILL)


def test_cancelling_a_suite_ends_its_run_with_what_it_has_not_begun(
    drive, call, write_suite, tmp_path
):
    fields = {"steps": 6, "pause_at": 3}
    path = write_suite({"Good": fields}, {"reading": fields})
    run = drive(**fields)
    wait_for(lambda: paused_in(tmp_path / "runs"))
    answer = call("cancel", "--suite", path)
    assert answer.code == 0
    assert answer.out.count("cancelled; ") == 2
    assert run.wait(LIMIT_S) == 1
    assert set(states(call, "--suite", path).values()) == {"cancelled"}
    assert call("retry", "--suite", path).lines[-1].startswith("2 jobs forgiven")
    assert call("retry", "--suite", path).lines == ["nothing to forget"]
    assert states(call, "--suite", path) == {
        ("Good", "counting"): "interrupted",
        ("Good", "reading"): "new",
    }


def test_a_job_of_another_host_is_marked_and_said_to_be_there(build_suite, ground_of, call):
    ground = ground_of(build_suite())
    job = ground.plan.jobs[0]
    folder = ground.store.prepare(job, None)
    take(folder / ATTEMPTS, 0, Owner("far-node", "boot 1", 4711, "7"))
    answer = call("cancel", job.key)
    assert answer.code == 1
    assert "not told: it runs as process 4711 on far-node" in answer.out
    assert "kill -TERM 4711" in answer.out
    assert (folder / CANCELLED).exists()


def test_a_run_that_is_just_starting_a_job_is_not_ended_with_it(build_suite, ground_of, call):
    ground = ground_of(build_suite())
    job = ground.plan.jobs[0]
    folder = ground.store.prepare(job, None)
    take(folder / ATTEMPTS, 0, this_process(STARTING))
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("this process was told to end"))
    try:
        assert "it is being started" in call("cancel", job.key).out
    finally:
        signal.signal(signal.SIGTERM, before)


def test_retrying_forgets_the_failure_and_the_attempts(build_suite, ground_of, call, read_json):
    ground = ground_of(build_suite({"Bad": {"outcome": "raise"}}))
    job, child = ground.plan.jobs
    folder = ground.store.prepare(job, None)
    for number in range(3):
        take(folder / ATTEMPTS, number, this_process()).end("failed")
    (folder / FAILURE).write_text('{"message": "ValueError: no"}')
    ground.store.prepare(child, None)
    answer = call("retry", job.key[:5], child.key[:5])
    assert answer.code == 0
    assert "counting of Bad (seed 0)" in answer.out
    assert "forgotten that it failed" in answer.out
    assert "blocked: there is nothing to forget" in answer.out
    assert not (folder / FAILURE).exists()
    assert read_json(folder / "job.json")["attempts_before"] == 3
    assert ground.store.state(job).name == "partial"


def test_cancelling_a_part_leaves_alone_what_the_rest_of_the_suite_needs(call, write_suite):
    path = write_suite({"Good": {}}, {"reading": {}, "seeing": {}})
    answer = call("cancel", "--suite", path, "--task", "reading")
    assert answer.code == 0
    assert answer.lines[0].startswith("left alone, since jobs that go on need it: counting of Good")
    found = states(call, "--suite", path)
    assert (found["Good", "counting"], found["Good", "reading"]) == ("new", "cancelled")
    call("cancel", "--suite", path, "--only", "Good")
    assert states(call, "--suite", path)["Good", "counting"] == "cancelled"


def test_what_is_done_or_failed_is_not_cancelled(three, call, tmp_path):
    answer = call("cancel", "--suite", tmp_path / "trial.toml")
    assert answer.code == 0
    assert answer.out.count("there is nothing to end") == 5
    assert answer.out.count("cancelled; nothing runs it") == 1
    assert states(call)["Good", "reading"] == "done"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["cancel"], "needs either jobs or --suite"),
        (["cancel", "abcd", "--suite", "demo"], "needs either jobs or --suite"),
        (["retry", "abcd"], "no such job folder, and no job in the store"),
        (["retry", "abcd", "--seed", "1"], "pass --suite"),
        (["cancel", "../elsewhere"], "no such job folder"),
    ],
)
def test_steering_without_a_job_has_a_helpful_answer(call, words, part, tmp_path):
    Store(tmp_path / "runs").root.mkdir()
    answer = call(*words)
    assert answer.code == 2
    assert part in answer.err


def test_a_part_of_a_suite_runs_with_what_it_needs_and_missing_names_the_rest(
    call, write_suite, tmp_path
):
    rows = {"A": {}, "B": {"steps": 6}}
    path = write_suite(rows, {"reading": {}}, seeds=(0, 1))
    results = tmp_path / "results"
    answer = call("missing", "--suite", path)
    assert answer.code == 1
    assert answer.lines[-1] == "2 of 2 cells have no number"
    only = ("--only", "B", "--seed", "1")
    assert call("run", "--suite", path, *only, "--results", results).code == 0
    assert states(call) == {("B", "counting"): "done", ("B", "reading"): "done"}
    answer = call("missing", "--suite", path)
    assert answer.code == 1
    assert "B · reading · seed 0: new" in answer.lines
    (command,) = [line.strip() for line in answer.lines if "--only B" in line]
    words = command.removeprefix("mae-bench ").partition(" --store ")[0].split()
    assert words[-2:] == ["--seed", "0"]
    assert call(*words, "--results", results).code == 0
    text = (results / "trial" / "leaderboard.md").read_text()
    assert re.search(r"^\| A \| [a-z0-9 ()]*\| 0/2 \|", text, re.MULTILINE)
    assert re.search(r"^\| B \| [a-z0-9 ()]*\| (\*\*)?50\.5", text, re.MULTILINE)
    (command,) = [line for line in call("missing", "--suite", path).lines if "mae-bench" in line]
    assert "--only A --task reading --store" in command
