import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from mae_bench.commands import ranks
from mae_bench.core.demo_data import DemoData, demo_roots
from mae_bench.core.owner import this_process
from mae_bench.core.registry import load
from mae_bench.core.site import Site
from mae_bench.core.turns import take
from mae_bench.kit.scene_files import make_demo
from mae_bench.suite.preflight import single_ground
from mae_bench.suite.torchrun import children

PROGRAM = Path(sys.executable).with_name("mae-bench")
WORDS = ["pretrain", "mae", "--size", "demo", "--arch", "vit_smoke_patch8", "--batch-size", "16"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
TORCHRUN += ["--local-addr", "127.0.0.1", "--nproc-per-node", "2", "-m", "mae_bench"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "demo"
    sizes = DemoData(num_train_images=64, num_val_images=16, num_train_scenes=8, num_val_scenes=8)
    make_demo(root, sizes)
    return ["--imagenet", str(demo_roots(root)["imagenet"])]


def start(command, cwd):
    return subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_until(condition, run, limit_s=90):
    end = time.monotonic() + limit_s
    while not condition():
        assert run.poll() is None, run.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.05)


def progress(folder):
    lines = [path.read_text() for path in folder.glob("runs/*/metrics.jsonl")]
    return len(lines[0].splitlines()) if lines else 0


def descendants(process):
    found = []
    for child in children(process):
        found += [child, *descendants(child)]
    return found


def ranks_of(run):
    """Return the process ids of the two ranks of a --gpus 2 run."""
    return [
        pid
        for pid in descendants(run.pid)
        if b"\0RANK=" in b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
    ]


def gone(processes):
    return not any(Path(f"/proc/{pid}").exists() for pid in processes)


def test_two_ranks_interrupted_save_together_and_continue(tmp_path, data):
    words = [PROGRAM, *WORDS, "--epochs", "200", "--gpus", "2", *data]
    run = start(words, tmp_path)
    wait_until(lambda: progress(tmp_path) >= 2, run)
    everyone = descendants(run.pid)
    run.send_signal(signal.SIGINT)
    output = run.communicate(timeout=60)[0]
    assert run.returncode == 130, output
    assert "continue with: mae-bench pretrain mae" in output
    assert gone(everyone)
    log = next(tmp_path.glob("runs/*/log.txt")).read_text()
    assert "state saved" in log
    assert list(tmp_path.glob("runs/*/checkpoints/step-*.pt"))
    assert not list(tmp_path.glob("runs/*/failure.json"))
    again = start(words, tmp_path)
    log_file = next(tmp_path.glob("runs/*/log.txt"))
    wait_until(lambda: "resumed after step" in log_file.read_text(), again)
    again.kill()
    again.wait(30)
    everyone = descendants(again.pid)
    assert gone(everyone)


def test_a_killed_rank_ends_all_within_a_minute_and_the_job_continues(tmp_path, data):
    run = start([PROGRAM, *WORDS, "--epochs", "100", "--gpus", "2", *data], tmp_path)
    wait_until(lambda: progress(tmp_path) >= 2, run)
    first = ranks_of(run)
    os.kill(max(first), signal.SIGKILL)
    killed = time.monotonic()
    wait_until(lambda: gone(first), run)
    assert time.monotonic() - killed < 60
    folder = next(tmp_path.glob("runs/*/job.json")).parent
    wait_until((folder / "attempts" / "2" / "start.json").exists, run)
    wait_until(lambda: len(ranks_of(run)) == 2, run)
    assert json.loads((folder / "attempts" / "1" / "ended.json").read_text())["code"] == 75
    assert not (folder / "failure.json").exists()
    run.kill()
    run.wait(30)


def test_the_users_own_torchrun_trains_one_job(tmp_path, data):
    command = [*TORCHRUN, *WORDS, "--epochs", "4", *data]
    answer = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("mae: masked-patch MSE") == 1
    result = json.loads(next(tmp_path.glob("runs/*/result.json")).read_text())
    facts = result["provenance"]["facts"]["training"]
    assert (facts["world"], facts["micro_batch"]) == (2, 8)
    cached = subprocess.run(
        [PROGRAM, *WORDS, "--epochs", "4", *data],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 cached" in cached.stdout


def test_a_batch_that_cannot_be_divided_fails_with_the_possible_numbers(tmp_path, data):
    words = [PROGRAM, *WORDS, "--epochs", "4", "--gpus", "3", *data]
    answer = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200
    )
    assert answer.returncode == 2
    assert "cannot be divided over 3 processes; possible numbers: 1, 2, 4, 8, 16" in answer.stderr


@pytest.mark.parametrize("ready_s", [3000.0, 3700.0])
def test_ranks_wait_for_the_first_ones_look_at_the_data_as_long_as_for_each_other(
    tmp_path, monkeypatch, ready_s
):
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)

    def sleep(seconds):
        clock.now += 100 * seconds
        if clock.now >= ready_s:
            (tmp_path / "job.json").touch()

    clock.sleep = sleep
    monkeypatch.setattr(ranks, "time", clock)
    ground = SimpleNamespace(store=SimpleNamespace(dir=lambda job: tmp_path))
    if ready_s < 3600:
        ranks._wait_for(ground, None)
        assert clock.now == ready_s
        return
    with pytest.raises(ValueError, match=r"made no .*job\.json in 3600 s; the store must lie on"):
        ranks._wait_for(ground, None)


def test_the_users_own_torchrun_leaves_a_job_alone_that_another_process_runs(
    tmp_path, monkeypatch, capsys
):
    ground = single_ground(load("random_init").demo(), 0, None, "row", Site(store=tmp_path))
    (job,) = ground.plan.jobs
    take(tmp_path / job.key / "attempts", 0, this_process())
    monkeypatch.setenv("RANK", "0")
    assert ranks.run_in_ranks(ground, job) == 76
    assert f"row · random_init · seed 0 is run by process {os.getpid()}" in capsys.readouterr().err
    assert not (tmp_path / job.key / "job.json").exists()
