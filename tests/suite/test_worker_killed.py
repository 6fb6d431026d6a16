"""A process that reads images is killed, as the kernel does where memory is short."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import pytest

from mae_bench.core.compute import Compute
from mae_bench.core.demo_data import DemoData, demo_roots
from mae_bench.core.registry import load
from mae_bench.core.site import Site
from mae_bench.kit.scene_files import make_demo
from mae_bench.suite.attempts import attempts
from mae_bench.suite.preflight import single_ground
from mae_bench.suite.torchrun import children

LIMIT_S = 120


@pytest.fixture
def job(tmp_path):
    """A long pretraining whose images two processes read: its folder, prepared."""
    root = tmp_path / "demo"
    sizes = DemoData(num_train_images=64, num_val_images=16, num_train_scenes=8, num_val_scenes=8)
    make_demo(root, sizes)
    compute = Compute(workers=2)
    site = Site(store=tmp_path / "runs", data={"imagenet": demo_roots(root)["imagenet"]})
    recipe = dataclasses.replace(
        load("mae").demo(), arch="vit_smoke_patch8", batch_size=16, epochs=5000
    )
    ground = single_ground(recipe, 0, None, "mae", dataclasses.replace(site, compute=compute))
    return ground.store.prepare(ground.plan.jobs[0], ground.data(ground.plan.jobs[0]), compute)


def test_a_killed_worker_ends_the_attempt_soon_and_is_no_failure(job):
    run = subprocess.Popen(
        [sys.executable, "-m", "mae_bench.suite.execute", job], stdout=subprocess.PIPE, text=True
    )
    end = time.monotonic() + LIMIT_S
    while not (job / "metrics.jsonl").exists():
        assert run.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    os.kill(max(children(run.pid)), signal.SIGKILL)
    killed = time.monotonic()
    output = run.communicate(timeout=LIMIT_S)[0]
    assert time.monotonic() - killed < 60
    assert run.returncode == 75, output
    assert "a process that reads images was killed" in output
    assert [attempt.ended["outcome"] for attempt in attempts(job)] == ["stopped"]
    assert not (job / "failure.json").exists()
