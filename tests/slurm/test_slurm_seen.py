"""What `status`, `cancel` and `gc` say and do of jobs in a real queue."""

import json
import os
import subprocess
import sys

import pytest
from real_cluster import wait_for
from trial import RECIPES, ROOT, Trial, ended

ROWS = {"A": {"pause_at": 2}, "B": {"steps": 3}}
PROGRAM = """
import sys
from mae_bench.cli import main
from mae_bench.core import registry
registry.OBJECTIVES["counting"] = "trial_recipes:Counting"
registry.TASKS["reading"] = "trial_recipes:Reading"
main(sys.argv[1:])
"""


@pytest.fixture
def trial(tmp_path):
    return Trial(tmp_path / "runs", ROWS, {}, {})


def call(trial, *words, **environment):
    """Return the answer of a command of the program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *words, "--store", trial.store],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{RECIPES}"} | environment,
        cwd=trial.store.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def jobs(trial):
    """Return what status tells of each job, by row and recipe."""
    answer = call(trial, "status", "--json")
    assert answer.returncode == 0, answer.stderr
    return {(one["row"], one["recipe"]): one for one in json.loads(answer.stdout)["jobs"]}


def states(trial):
    return {name: one["state"] for name, one in jobs(trial).items()}


def test_jobs_in_the_queue_are_seen_and_cancelled_until_a_run_asks_for_them(cluster, trial):
    code, said = ended(trial.start("detached"))
    assert code == 0, said
    pid = trial.wait_paused("A")
    wait_for(lambda: states(trial)["B", "reading"] == "done")
    seen = jobs(trial)
    running, waiting = seen["A", "counting"], seen["A", "reading"]
    assert (running["state"], running["where"]["pid"]) == ("running", pid)
    assert running["where"]["started_by"] == f"slurm/{running['where']['queue']['id']}/0"
    assert running["where"]["queue"]["where"] in ("n1", "n2", "n3", "n4")
    assert (running["step"], running["steps"]) == (2, 5)
    assert (waiting["state"], waiting["reason"]) == ("waiting", "counting of A (seed 0)")
    assert call(trial, "gc", "--suite", "demo", "--orphans", "--yes").returncode == 0
    assert (trial.folder("A", "reading") / "job.json").exists()  # it is in the queue
    answer = call(trial, "cancel", running["key"], waiting["key"])
    assert answer.returncode == 0, answer.stderr
    assert f"the scheduler was told, job {running['where']['queue']['id']}" in answer.stdout
    wait_for(lambda: states(trial)["A", "counting"] == "cancelled")
    assert states(trial)["A", "reading"] in ("cancelled", "blocked")
    assert not cluster.ask("squeue", "--noheader", "--states=PENDING,RUNNING").strip()
    code, said = ended(trial.start())
    assert code == 0, said
    assert trial.steps("A") == [1, 2, 3, 4, 5]


def test_a_scheduler_that_does_not_answer_is_said_to_be_silent(cluster, trial):
    code, said = ended(trial.start("detached"))
    assert code == 0, said
    trial.wait_paused("A")
    answer = call(trial, "status", PATH="/nowhere")
    assert answer.returncode == 0
    assert "the scheduler does not answer" in answer.stdout
    assert "running" in answer.stdout
    assert call(trial, "gc", "--yes", PATH="/nowhere").returncode == 2
    answer = call(trial, "cancel", "counting", "A", PATH="/nowhere")
    assert answer.returncode == 1
    assert "cancel again when it does" in answer.stdout
