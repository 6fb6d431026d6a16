"""Whatever ends a run, its jobs save themselves; a bad folder fails its own job alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mae_bench.commands.run import run_jobs
from mae_bench.suite.attempts import ATTEMPTS, attempts
from mae_bench.suite.store import CANCELLED, RESULT

PROGRAM = Path(__file__).with_name("drive_program.py")
LIMIT_S = 60


@pytest.fixture
def program(tmp_path, write_suite):
    """Return a function that runs a suite whose two first jobs wait to be stopped."""
    path = write_suite({row: {"steps": n, "pause_at": 3} for row, n in (("A", 6), ("B", 7))})
    started = []

    def start(*before):
        words = ["run", "--suite", path, "--store", tmp_path / "runs", "--results", tmp_path / "r"]
        words += ["--parallel", "2"]
        ignored = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests run under
        run = subprocess.Popen(
            [*before, sys.executable, PROGRAM, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        signal.signal(signal.SIGHUP, ignored)
        started.append(run)
        end = time.monotonic() + LIMIT_S
        while len([one for one in paused(tmp_path / "runs") if one.read_text()]) < 2:
            assert run.poll() is None, run.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)
        return run

    yield start
    for run in started:
        run.kill()
        run.wait()


def paused(store):
    return list(store.glob("*/paused"))


def ends(store):
    """Return how the attempts ended at the jobs that wait, which have saved themselves."""
    assert all((marker.parent / "saved").exists() for marker in paused(store))
    return sorted(attempts(marker.parent)[0].ended["outcome"] for marker in paused(store))


def test_closing_the_terminal_lets_jobs_save_themselves(program, tmp_path):
    run = program()
    run.send_signal(signal.SIGHUP)
    assert run.wait(LIMIT_S) == 130
    assert ends(tmp_path / "runs") == ["stopped", "stopped"]


def test_under_nohup_closing_the_terminal_ends_nothing(program, tmp_path):
    run = program("nohup")
    run.send_signal(signal.SIGHUP)
    run.send_signal(signal.SIGCONT)
    for marker in paused(tmp_path / "runs"):
        marker.unlink()
    assert run.wait(LIMIT_S) == 0


def test_a_run_that_nobody_reads_on_fails_and_lets_its_jobs_save(program, tmp_path):
    run = program()
    run.stdout.close()
    marker = paused(tmp_path / "runs")[0]
    (marker.parent / CANCELLED).write_text(json.dumps({"message": "now"}))
    os.kill(int(marker.read_text()), signal.SIGTERM)  # so that there is something to say
    assert run.wait(LIMIT_S) == 1
    assert ends(tmp_path / "runs") == ["cancelled", "stopped"]


def test_a_file_in_place_of_a_jobs_folder_fails_that_job_alone(build_suite, ground_of):
    ground = ground_of(build_suite({"Good": {}, "Odd": {"steps": 6}}))
    jobs = {(job.row, job.recipe.name): job for job in ground.plan.jobs}
    odd = jobs["Odd", "counting"]
    ground.store.root.mkdir()
    ground.store.dir(odd).write_text("no folder")
    failed = run_jobs(ground, 2)
    assert failed.keys() == {odd.key, jobs["Odd", "reading"].key}
    assert str(ground.store.dir(odd)) in failed[odd.key]
    assert ground.store.result(jobs["Good", "reading"]) is not None


def test_a_source_whose_encoder_is_gone_says_how_it_is_made_again(build_suite, ground_of):
    ground = ground_of(build_suite())
    assert run_jobs(ground, 2) == {}
    source, task = ground.plan.jobs
    encoder = ground.store.encoder(task)
    encoder.unlink()
    (ground.store.dir(task) / RESULT).unlink()
    again = ground_of(build_suite())
    assert f"{encoder} is gone" in again.blocked[task.key]
    (ground.store.dir(source) / RESULT).unlink()
    assert run_jobs(ground_of(build_suite()), 2) == {}


def test_a_job_cancelled_while_its_folder_is_prepared_stays_cancelled(build_suite, ground_of):
    ground = ground_of(build_suite())
    job = ground.plan.jobs[0]
    folder = ground.store.prepare(job, None)
    (folder / CANCELLED).write_text(json.dumps({"message": "now"}))
    ground.store.prepare(job, None)
    assert ground.store.state(job).name == "cancelled"
    assert not (folder / ATTEMPTS).exists()
