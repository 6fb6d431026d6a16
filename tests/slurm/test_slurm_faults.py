"""Faults that a cluster brings to a job: what it loses, and that its result stays the same.

The node n4 is left to jobs that take long, beside the trainings on the others.
"""

import json
import time
from pathlib import Path

import pytest
import torch
from real_cluster import kill, wait_for
from safetensors.torch import load_file
from stopping_recipes import SlowDisk, Stopped
from training_job import MODEL, prepared, submitted

from mae_bench.core import registry
from mae_bench.core.demo_data import DemoData, demo_roots
from mae_bench.core.recipe import fields_of
from mae_bench.kit.scene_files import make_demo
from mae_bench.suite.execute import execute

SLOW_DISK = SlowDisk(**fields_of(MODEL))
ELSEWHERE = "--exclude=n4"
URGENT = "#!/bin/bash\n#SBATCH --partition=urgent --exclude=n4 --nodes=3 --exclusive\ntrue\n"


@pytest.fixture(scope="module")
def ground(shared_cluster):
    """Return a cluster that all tests of this file use at once, and tidy it after them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(shared_cluster.conf))
        patch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{Path(__file__).parents[2]}")
        yield shared_cluster
        shared_cluster.tidy()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "demo"
    sizes = DemoData(num_train_images=64, num_val_images=16, num_train_scenes=8, num_val_scenes=8)
    make_demo(root, sizes)
    return demo_roots(root)["imagenet"]


@pytest.fixture(scope="module", autouse=True)
def recipes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.OBJECTIVES, "stopped", "stopping_recipes:Stopped")
        patch.setitem(registry.OBJECTIVES, "slow_disk", "stopping_recipes:SlowDisk")
        yield


@pytest.fixture(scope="module", autouse=True)
def stopped_jobs(ground, recipes, tmp_path_factory):
    """Submit the jobs that are stopped again and again; return them by how that happens."""
    ways = {"signal": (5, ()), "kill": (5, ()), "limit": (2, ("--time=1", "--signal=USR2@50"))}
    found = {}
    for way, (steps, options) in ways.items():
        folder = prepared(tmp_path_factory.mktemp(way), None, Stopped(way=way, steps=steps), 1)
        found[way] = submitted(ground, folder, 1, "--nodelist=n4", *options)
    return found


@pytest.fixture(scope="module")
def quiet(tmp_path_factory, data):
    """Return the weights of a run that nothing disturbed, on two ranks."""
    folder = prepared(tmp_path_factory.mktemp("quiet"), data, MODEL, 2)
    assert execute(folder) == 0
    return load_file(folder / "encoder.safetensors")


@pytest.fixture
def start(ground, data, tmp_path):
    """Return a function: nodes, ranks, options of sbatch -> a submitted training."""

    def start(nodes, ranks, *options, recipe=MODEL):
        folder = prepared(tmp_path / "runs", data, recipe, ranks)
        return submitted(ground, folder, nodes, ELSEWHERE, *options)

    return start


def preempt(job):
    """Let an urgent job take all nodes that trainings have, and wait until it is done."""
    urgent = job.cluster.submit(URGENT, cwd=job.folder)
    job.cluster.wait_state(urgent, "COMPLETED")


def assert_same(job, quiet):
    found = job.weights()
    assert found.keys() == quiet.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in quiet.items())


def test_preempted_with_notice_it_loses_no_step_and_without_only_what_came_since_the_last_save(
    start, quiet
):
    job = start(1, 2, "--partition=preemptible", recipe=SLOW_DISK)
    job.wait_steps()
    preempt(job)
    job.cluster.ask("scontrol", "update", f"jobid={job.id}", "partition=hasty")
    job.wait_log("resumed after step")
    (saved,) = job.steps_saved()
    job.wait_steps(saved)
    (job.folder / "slow").touch()
    preempt(job)
    (job.folder / "slow").unlink()
    job.wait_end()
    assert job.outcomes == ["stopped", None, "done"]
    assert job.steps_resumed() == [saved]
    assert [attempt.start["lost"] == 0 for attempt in job.attempts] == [True, True, False]
    assert "attempt 2 was told to stop, and killed before its state was saved" in job.log
    assert "slurm.notice_s" in job.log
    assert_same(job, quiet)


def test_two_nodes_survive_preemption_a_killed_rank_and_the_crash_of_one_of_them(
    ground, start, quiet
):
    job = start(2, 2, "--partition=preemptible")
    job.wait_steps()
    preempt(job)
    job.wait_log("resumed after step", 2)
    (saved,) = job.steps_saved()
    job.wait_steps(saved)

    first, other = job.ranks()
    kill(other.pid)
    killed = time.monotonic()
    wait_for(lambda: not first.lives, 60, job.story)
    print(f"a rank killed: the other one ended after {time.monotonic() - killed:.1f} s")
    ground.wait_restarts(job.id, 2)
    job.wait_log("resumed after step", 4)
    assert job.outcomes == ["stopped", "stopped", None]

    crashed = ground.nodes_of(job.id)[1]
    ground.crash(crashed)
    ground.lose(crashed)
    lost = time.monotonic()
    ground.wait_restarts(job.id, 3)
    print(f"a node crashed: running again after {time.monotonic() - lost:.1f} s")
    assert crashed not in ground.nodes_of(job.id)
    job.wait_end()
    assert job.outcomes[-1] == "done"
    assert job.steps_resumed() == [saved]
    assert len(job.attempts) == 4
    assert_same(job, quiet)
    ground.bring_back(crashed)


def test_of_two_copies_of_a_job_the_later_start_alone_writes(ground, start):
    job = start(1, 1)
    job.wait_steps()
    (node,) = ground.nodes_of(job.id)
    (old,) = job.workers()
    ground.kill_daemons(node)
    ground.lose(node)
    ground.wait_restarts(job.id, 1)
    assert old.lives
    wait_for(lambda: len(job.attempts) == 2, 60, job.story)
    taken = time.monotonic()
    wait_for(lambda: not old.lives, 30, job.story)
    print(f"two copies: the old one ended after {time.monotonic() - taken:.1f} s")
    job.wait_end()
    assert job.outcomes == ["superseded", "done"]
    steps = job.logged_steps()
    begins = next(i for i in range(1, len(steps)) if steps[i] <= steps[i - 1])
    assert steps[begins:] == sorted(set(steps[begins:]))
    ground.bring_back(node)


def test_told_to_stop_five_times_it_goes_on_as_long_as_each_attempt_saves_a_step(stopped_jobs):
    job = stopped_jobs["signal"]
    job.wait_end()
    assert job.outcomes == ["stopped"] * 4 + ["done"]


def test_three_attempts_that_saved_nothing_are_the_last(ground, stopped_jobs):
    job = stopped_jobs["kill"]
    ground.wait_state(job.id, "FAILED")
    assert job.outcomes == [None, None, None, "failed"]
    message = json.loads((job.folder / "failure.json").read_text())["message"]
    assert "3 attempts in a row saved nothing new" in message


def test_at_its_time_limit_it_is_told_in_time_and_continues(stopped_jobs):
    job = stopped_jobs["limit"]
    job.wait_end()
    assert job.outcomes == ["stopped", "done"]
