import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import LIMIT_S, wait_for

from mae_bench.commands.run import run_jobs
from mae_bench.suite.attempts import attempts
from mae_bench.suite.execute import execute
from mae_bench.suite.store import RESULT

DRIVE = Path(__file__).with_name("drive.py")


def drive(store, *progress_s, **fields):
    """Start the trial suite in a process of its own, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, DRIVE, store, json.dumps(fields), *map(str, progress_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def marker_in(store):
    """Return the file that a paused job leaves, once it holds a process id."""
    found = [path for path in store.glob("*/paused") if path.read_text()]
    return found[0] if found else None


def _text(path):
    """Return what is in a file, empty without one."""
    return path.read_text() if path.exists() else ""


def alive(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def test_a_killed_job_is_started_again_by_its_run_and_takes_up_where_it_was(
    build_suite, ground_of, steps_of
):
    fields = {"steps": 6, "pause_at": 3}
    ground = ground_of(build_suite({"Good": fields}, {"reading": fields}))
    encoder_job, reading_job = ground.plan.jobs
    run = drive(ground.store.root, **fields)
    for job in (encoder_job, reading_job):
        marker = ground.store.dir(job) / "paused"
        os.kill(int(wait_for(lambda marker=marker: _text(marker))), signal.SIGKILL)
    assert run.wait(LIMIT_S) == 0, run.stdout.read()
    for job in (encoder_job, reading_job):
        assert steps_of(ground.store, job) == [1, 2, 3, 4, 5, 6]
        tried = attempts(ground.store.dir(job))
        assert [attempt.ended and attempt.ended["outcome"] for attempt in tried] == [None, "done"]


def test_killing_the_run_itself_leaves_no_orphan_and_the_next_run_continues(
    build_suite, ground_of, steps_of
):
    fields = {"steps": 6, "pause_at": 3}
    ground = ground_of(build_suite({"Good": fields}, {"reading": fields | {"pause_at": 0}}))
    run = drive(ground.store.root, **fields)
    child = int(wait_for(lambda: marker_in(ground.store.root)).read_text())
    run.kill()
    run.wait()
    wait_for(lambda: not alive(child))
    assert ground.store.state(ground.plan.jobs[0]).name == "partial"
    assert not run_jobs(ground, 2)
    assert steps_of(ground.store, ground.plan.jobs[0]) == [1, 2, 3, 4, 5, 6]


def test_ctrl_c_ends_the_children_and_exits_with_130(build_suite, ground_of):
    ground = ground_of(build_suite({"Good": {"pause_at": 3}}))
    run = drive(ground.store.root, pause_at=3)
    child = int(wait_for(lambda: marker_in(ground.store.root)).read_text())
    run.send_signal(signal.SIGINT)
    assert run.wait(LIMIT_S) == 130
    assert not alive(child)
    assert ground.store.state(ground.plan.jobs[0]).name == "partial"


def test_further_signals_do_not_keep_the_jobs_from_saving_themselves(build_suite, ground_of):
    fields = {"pause_at": 3, "linger": 1.0}
    ground = ground_of(build_suite({"Good": fields}))
    run = drive(ground.store.root, **fields)
    wait_for(lambda: marker_in(ground.store.root))
    run.send_signal(signal.SIGINT)
    for line in run.stdout:
        if line.startswith("stopping  Good · counting · seed 0: saving, 60 s at most"):
            break
    for again in (signal.SIGINT, signal.SIGTERM):
        run.send_signal(again)
    assert run.wait(LIMIT_S) == 130
    folder = ground.store.dir(ground.plan.jobs[0])
    assert (folder / "saved").exists()
    assert [attempt.ended["outcome"] for attempt in attempts(folder)] == ["stopped"]


def test_two_runs_at_once_execute_every_step_once(build_suite, ground_of, steps_of):
    fields = {"steps": 40}
    ground = ground_of(build_suite({"Good": fields}, {"reading": fields}))
    runs = [drive(ground.store.root, **fields) for _ in range(3)]
    assert [run.wait(LIMIT_S) for run in runs] == [0, 0, 0]
    for job in ground.plan.jobs:
        assert steps_of(ground.store, job) == list(range(1, 41))


def test_a_run_that_waits_for_another_says_for_whom_once_and_shows_its_progress(
    build_suite, ground_of
):
    fields = {"steps": 6, "pause_at": 3}
    ground = ground_of(build_suite({"Good": fields}, {"reading": fields}))
    first = drive(ground.store.root, **fields)
    child = wait_for(lambda: marker_in(ground.store.root)).read_text()
    second = drive(ground.store.root, 0, **fields)
    lines = []
    while sum("progress" in line for line in lines) < 3:
        lines.append(second.stdout.readline())
        assert lines[-1], lines
    told = [line for line in lines if line.startswith("waiting")]
    assert len(told) == 1
    who = f"run by process {child} on {socket.gethostname()}, since"
    assert told[0].startswith(f"waiting   Good · counting · seed 0: {who}")
    assert any("Good · counting · seed 0 3/6" in line for line in lines)
    os.kill(int(child), signal.SIGKILL)
    marker = ground.store.dir(ground.plan.jobs[1]) / "paused"
    os.kill(int(wait_for(lambda: _text(marker))), signal.SIGKILL)
    assert [first.wait(LIMIT_S), second.wait(LIMIT_S)] == [0, 0]


def test_a_crash_without_a_word_is_a_failure_with_its_exit_code(build_suite, ground_of):
    ground = ground_of(build_suite({"Row": {"outcome": "exit"}}))
    job = ground.plan.jobs[0]
    assert run_jobs(ground, 1)[job.key] == "failed: ended with exit code 3, see log.txt"
    assert ground.store.state(job).name == "failed"


def test_a_failed_job_blocks_its_dependents_and_the_others_run(build_suite, ground_of, capsys):
    ground = ground_of(build_suite({"Bad": {"outcome": "raise"}, "Good": {}}))
    bad, reading_bad, good, reading_good = ground.plan.jobs
    failed = run_jobs(ground, 2)
    assert failed == {
        bad.key: "failed: ValueError: it went wrong on purpose",
        reading_bad.key: "blocked: counting of Bad (seed 0) has no result",
    }
    assert ground.store.state(bad).name == "failed"
    assert ground.store.result(good).metrics == {"score": 50.0}
    assert ground.store.result(reading_good).metrics == {"score": 50.0}
    assert "log.txt" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [("nan", "must be finite, got nan"), ("too_high", r"must be in [0, 100] %, got 101.0")],
)
def test_a_metric_out_of_range_is_a_failure_and_no_result(build_suite, ground_of, outcome, reason):
    ground = ground_of(build_suite(tasks={"reading": {"outcome": outcome}}))
    failed = run_jobs(ground, 1)
    job = ground.plan.jobs[1]
    assert reason in failed[job.key]
    assert not (ground.store.dir(job) / RESULT).exists()


def test_a_job_whose_toolbox_is_missing_is_blocked_and_the_others_run(
    tmp_path, build_suite, ground_of
):
    bare = tmp_path / "bare" / "python"
    bare.parent.mkdir()
    bare.write_text(f'#!/bin/sh\nexec "{sys.base_prefix}/bin/python3" -S "$@"\n')
    bare.chmod(0o755)
    suite = build_suite(tasks={"reading": {}, "needs_detectron2": {}})
    ground = ground_of(suite, python={"detectron2": bare})
    _counting, reading, needing = ground.plan.jobs
    assert "pip install" in ground.blocked[needing.key]
    assert list(run_jobs(ground, 2)) == [needing.key]
    assert ground.store.result(reading) is not None


@pytest.mark.parametrize("damage", ["truncate", "other_key", "nan", "extra_metric", "empty"])
def test_a_damaged_result_is_not_believed_and_the_job_runs_again(
    build_suite, ground_of, read_json, damage
):
    ground = ground_of(build_suite())
    assert not run_jobs(ground, 1)
    job = ground.plan.jobs[1]
    path = ground.store.dir(job) / RESULT
    content = read_json(path)
    if damage == "truncate":
        path.write_text(path.read_text()[:40])
    elif damage == "empty":
        path.write_text("")
    else:
        changes = {
            "other_key": {"key": "0" * 16},
            "nan": {"metrics": {"score": float("nan")}},
            "extra_metric": {"metrics": {"score": 50.0, "other": 1.0}},
        }
        path.write_text(json.dumps(content | changes[damage]))
    assert ground.store.result(job) is None
    assert not run_jobs(ground, 1)
    assert ground.store.result(job).metrics == {"score": 50.0}


def test_a_finished_folder_executed_again_does_nothing(build_suite, ground_of, steps_of):
    ground = ground_of(build_suite())
    assert not run_jobs(ground, 1)
    job = ground.plan.jobs[0]
    assert execute(ground.store.dir(job)) == 0
    assert steps_of(ground.store, job) == [1, 2, 3, 4, 5]


def test_a_result_holds_provenance_without_paths_or_hosts(build_suite, ground_of, tmp_path):
    ground = ground_of(build_suite())
    assert not run_jobs(ground, 1)
    text = (ground.store.dir(ground.plan.jobs[1]) / RESULT).read_text()
    provenance = json.loads(text)["provenance"]
    assert provenance["versions"]["torch"]
    assert provenance["identity"]["source"] == ground.plan.jobs[0].key
    assert str(tmp_path) not in text
    assert os.uname().nodename not in text
