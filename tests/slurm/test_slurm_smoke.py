"""A suite of real trainings through a real SLURM, preempted on the way, against a local run."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

from real_cluster import wait_for

PROGRAM = Path(sys.executable).with_name("mae-bench")
SUITE = """
name = "small"
[encoders.MAE]
recipe = "mae"
size = "demo"
arch = "vit_smoke_patch8"
epochs = 50
warmup_epochs = 1
batch_size = 32
[[tasks]]
recipe = "imagenet_linear"
size = "demo"
epochs = 2
batch_size = 32
"""
MADE = ("--num-train-images", "128", "--num-val-images", "64")
SCENES = ("--num-train-scenes", "8", "--num-val-scenes", "8")
SITE = """
[slurm]
partition = "preemptible"
memory = "5000"
extra = ["--nodelist=n1"]
poll_s = 1
settle_s = 3
"""
URGENT = "#!/bin/bash\n#SBATCH --partition=urgent --nodelist=n1 --exclusive\nsleep 2\n"


def start(folder, *words):
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    (folder / "site.toml").write_text(SITE)
    (folder / "small.toml").write_text(SUITE)
    data = folder.parent / "data" / "imagenet"
    return subprocess.Popen(
        [PROGRAM, "run", "--suite", "small.toml", "--imagenet", data, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def numbers(folder):
    """Return row, recipe and metrics of every job in the store of a folder."""
    return {
        (job["row"], job["identity"]["recipe"]): result["metrics"]
        for path in folder.glob("runs/*/result.json")
        for result, job in [
            (json.loads(path.read_text()), json.loads((path.parent / "job.json").read_text()))
        ]
    }


COSTS = ("seconds", "gpu_hours", "encoder_gpu_hours")


def table(folder):
    """Return the rows of the leaderboard, but for what each took."""
    with (folder / "results" / "small" / "leaderboard.csv").open(newline="") as stream:
        return [row | dict.fromkeys(COSTS, "") for row in csv.DictReader(stream)]


def training(folder):
    """Return whether a job is in the middle of its training."""
    for path in folder.glob("runs/*/metrics.jsonl"):
        lines = path.read_text().splitlines()
        if lines and not (path.parent / "result.json").exists():
            last = json.loads(lines[-1])
            if 0 < last["step"] < last["steps"]:
                return True
    return False


def test_a_preempted_suite_gives_the_same_numbers_as_a_local_run(cluster, tmp_path):
    subprocess.run(
        [PROGRAM, "data", "make-demo", tmp_path / "data", *MADE, *SCENES],
        check=True,
        capture_output=True,
    )
    there = start(tmp_path / "slurm", "--on", "slurm")
    wait_for(lambda: training(tmp_path / "slurm"), 120)
    cluster.submit(URGENT, cwd=tmp_path)
    said, _ = there.communicate(timeout=300)
    assert there.returncode == 0, said
    ends = [json.loads(p.read_text()) for p in tmp_path.glob("slurm/runs/*/attempts/*/ended.json")]
    assert sorted(end["outcome"] for end in ends) == ["done", "done", "stopped"]
    here = start(tmp_path / "local", "--parallel", "2")
    said, _ = here.communicate(timeout=300)
    assert here.returncode == 0, said
    assert numbers(tmp_path / "slurm") == numbers(tmp_path / "local")
    assert len(numbers(tmp_path / "local")) == 2
    assert table(tmp_path / "slurm") == table(tmp_path / "local")
