import json
import os
import signal
import time
from pathlib import Path

import pytest

from mae_bench.core.files import write_json
from mae_bench.core.owner import Owner, this_process
from mae_bench.core.turns import take
from mae_bench.suite.attempts import ATTEMPTS
from mae_bench.suite.launch.queue import QueueEntry
from mae_bench.suite.overview import LETTERS, SYMBOLS, overview
from mae_bench.suite.plan import plan
from mae_bench.suite.status import View, planned, standings
from mae_bench.suite.store import CANCELLED, FAILURE, Store

FIVE = {"A": {}, "B": {"steps": 6}, "C": {"steps": 7}, "D": {"steps": 8}, "E": {"steps": 9}}


@pytest.fixture
def trial(build_suite, tmp_path):
    """Return the plan of five rows and a store in which nothing ran."""
    found = plan(build_suite(FIVE), {})
    return found, Store(tmp_path / "runs")


def state_of(trial, blocked=None, queue=None):
    found, store = trial
    stands = standings(planned(found), View(store, blocked or {}, queue or {}))
    return {(one.entry.row, one.entry.recipe): (one.state, one.reason) for one in stands.values()}


def job_of(trial, row, recipe="counting"):
    found, _ = trial
    return next(job for job in found.jobs if (job.row, job.recipe.name) == (row, recipe))


def test_what_a_job_needs_decides_how_it_stands(trial):
    _, store = trial
    failed, running, cancelled, killed, new = (job_of(trial, row) for row in "ABCDE")
    write_json(store.prepare(failed, None) / FAILURE, {"message": "ValueError: no"})
    take(store.prepare(running, None) / ATTEMPTS, 0, this_process())
    write_json(store.prepare(cancelled, None) / CANCELLED, {"message": "at noon"})
    gone = Owner("elsewhere", "", 1, "")
    take(store.prepare(killed, None) / ATTEMPTS, 0, gone).end("stopped")
    store.prepare(new, None)
    assert state_of(trial) == {
        ("A", "counting"): ("failed", "ValueError: no"),
        ("A", "reading"): ("blocked", "counting of A (seed 0) failed: ValueError: no"),
        ("B", "counting"): ("running", ""),
        ("B", "reading"): ("waiting", "counting of B (seed 0)"),
        ("C", "counting"): ("cancelled", "at noon"),
        ("C", "reading"): ("blocked", "counting of C (seed 0) was cancelled: at noon"),
        ("D", "counting"): ("interrupted", ""),
        ("D", "reading"): ("new", ""),
        ("E", "counting"): ("new", ""),
        ("E", "reading"): ("new", ""),
    }


def test_the_queue_is_believed_only_where_the_files_say_nothing(trial):
    _, store = trial
    jobs = [job_of(trial, row) for row in "ABC"]
    child = job_of(trial, "A", "reading")
    write_json(store.prepare(jobs[0], None) / FAILURE, {"message": "no"})
    gone = Owner("elsewhere", "", 1, "")
    take(store.prepare(jobs[1], None) / ATTEMPTS, 0, gone).end("stopped")
    queue = {job.key: QueueEntry("7", "queued", "Priority") for job in [*jobs, child]}
    found = state_of(trial, queue=queue)
    assert found["A", "counting"] == ("failed", "no")
    assert found["A", "reading"][0] == "blocked"
    assert found["B", "counting"] == ("retrying", "Priority")
    assert found["C", "counting"] == ("queued", "Priority")
    assert found["C", "reading"] == ("waiting", "counting of C (seed 0)")


def test_what_is_missing_here_blocks_a_job_and_those_that_need_it(trial):
    job = job_of(trial, "A")
    found = state_of(trial, blocked={job.key: "no data", job_of(trial, "A", "reading").key: "its"})
    assert found["A", "counting"] == ("blocked", "no data")
    assert found["A", "reading"] == ("blocked", "no data")


@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_hundred_jobs_are_one_glance(build_suite, tmp_path, width):
    rows = {f"An encoder with a long name {i}": {"steps": i + 1} for i in range(10)}
    suite = build_suite(rows, {"reading": {}}, seeds=tuple(range(9)))
    found, store = plan(suite, {}), Store(tmp_path / "runs")
    bad = found.jobs[0]
    write_json(store.prepare(bad, None) / FAILURE, {"message": "ValueError: " + "long " * 50})
    stands = list(standings(planned(found), View(store, {}, {})).values())
    assert len(stands) == 100
    for symbols in (SYMBOLS, LETTERS):
        lines = overview(stands, found, width, symbols)
        assert len(lines) <= 20
        assert max(map(len, lines)) <= width
        assert lines[0].startswith(f"100 jobs:  {symbols['blocked']} 9 blocked")
        (row,) = [line for line in lines if line.startswith("An encoder with a long name 0  ")]
        assert symbols["failed"] in row
        assert symbols["blocked"] * 9 in row
        (failed,) = [line for line in lines if line.startswith(f"{symbols['failed']} ")]
        assert f"{bad.key[:8]}  counting · An encoder with a long name 0 · seed 0" in failed
        assert ("failed" in failed) == (width >= 110)
        assert "\n".join(lines).count(symbols["new"] * 9) == 9
    assert all(ord(c) < 128 for c in "\n".join(lines).replace("·", "").replace("…", ""))


def test_progress_attempts_and_place_of_a_running_job_are_told(trial, call, write_suite):
    _, store = trial
    job = job_of(trial, "A")
    folder = store.prepare(job, None)
    take(folder / ATTEMPTS, 0, Owner("elsewhere", "", 1, "")).end("stopped")
    turn = take(folder / ATTEMPTS, 1, this_process("slurm/17/1"))
    turn.note("start.json", digest="", step=2, lost=3)
    lines = [{"step": n, "steps": 100, "time": 1000.0 + n} for n in (5, 25)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = json.loads(call("status", "--json").out)
    (one,) = told["jobs"]
    assert (one["step"], one["steps"], one["left_s"]) == (25, 100, 75.0)
    assert (one["attempts"], one["lost_steps"], one["state"]) == (2, 3, "running")
    assert one["where"]["started_by"] == "slurm/17/1"
    assert one["where"]["pid"] == os.getpid()
    assert told["counts"] == {"running": 1}
    assert not told["over"]
    text = call("status").out
    for part in ("25/100 (25%)", "1 min 15 s left", "attempt 2", "3 steps lost", "slurm 17"):
        assert part in text


def test_a_store_of_two_hundred_jobs_is_read_within_a_second(build_suite, tmp_path):
    rows = {f"row {i}": {"steps": i + 1} for i in range(20)}
    found = plan(build_suite(rows, {"reading": {}}, seeds=tuple(range(9))), {})
    store = Store(tmp_path / "runs")
    for job in found.jobs:
        folder = store.prepare(job, None)
        turn = take(folder / ATTEMPTS, 0, this_process())
        (folder / "metrics.jsonl").write_text('{"step": 5, "steps": 5, "time": 1.0}\n')
        turn.end("stopped")
    assert len(found.jobs) == 200
    began = time.process_time()
    assert len(standings(planned(found), View(store, {}, {}))) == 200
    assert time.process_time() - began < 1.0


def test_folders_that_are_no_jobs_of_the_store_are_named_and_left_out(trial, call, tmp_path):
    _, store = trial
    folder = store.prepare(job_of(trial, "A"), None)
    (store.root / "copy").mkdir()
    (store.root / "copy" / "job.json").write_text((folder / "job.json").read_text())
    (store.root / "linked").symlink_to(folder)
    (store.root / "half").mkdir()
    (store.root / "half" / "job.json").write_text("{")
    answer = call("status")
    assert answer.lines[0].startswith("1 job:")
    assert "copy is named otherwise than its job" in answer.out
    assert "linked is a symbolic link" in answer.out
    assert "half/job.json cannot be understood" in answer.out


def test_watching_ends_when_all_is_over_with_1_unless_all_is_done(three, call, tmp_path):
    answer = call("status", "--suite", tmp_path / "trial.toml", "--watch")
    assert answer.code == 1
    assert answer.lines[0].startswith("6 jobs:  ")
    assert "1 blocked" in answer.lines[0]
    assert "it went wrong on purpose" in answer.out
    words = ("--suite", tmp_path / "trial.toml", "--only", "Good", "Other")
    assert call("status", *words, "--watch").code == 0


def test_ctrl_c_ends_watching_cleanly(trial, call):
    _, store = trial
    store.prepare(job_of(trial, "A"), None)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        answer = call("status", "--watch")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.count("1 job:") == 1


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--watch", "--json"], "pass one of them"),
        (["--only", "A"], "pass --suite"),
        ([], "no store"),
        (["--suite", "dem"], "did you mean 'demo'?"),
        (["--suite", "demo", "--only", "Rand"], "did you mean"),
        (["--suite", "demo", "--seed", "7"], "unknown seed of the suite '7'"),
        (["--suite", "demo", "--task", "coco_vitdet", "--seed", "1"], "no cell of demo"),
    ],
)
def test_wrong_questions_have_helpful_answers(call, words, part):
    answer = call("status", *words)
    assert answer.code == 2
    assert part in answer.err


def test_the_page_explains_every_state_and_every_field_of_the_json(three, call):
    page = (Path(__file__).parents[2] / "docs" / "following.md").read_text()
    told = json.loads(call("status", "--json").out)
    for name in [*told, *told["jobs"][0]]:
        assert f"`{name}`" in page or f'"{name}"' in page, name
    for state, symbol in SYMBOLS.items():
        assert f"| {symbol} | {state} |" in page
