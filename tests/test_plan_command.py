import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("mae-bench")


def call(*words, cwd, **environment):
    return subprocess.run(
        [PROGRAM, *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", **environment},
    )


@pytest.mark.parametrize("columns", ["100", "200"])
def test_63_jobs_are_readable_at_the_terminals_width(tmp_path, columns):
    answer = call("plan", "--suite", "full", cwd=tmp_path, COLUMNS=columns)
    assert answer.returncode == 0, answer.stderr
    table, _, rest = answer.stdout.partition("\n\n")
    assert len(table.splitlines()) == 64
    assert max(map(len, table.splitlines())) <= int(columns)
    for word in ("time ", "wall ", "disk "):
        assert f"  {word}" in rest
    assert "assumed: no GPU here; --gpu-kind names another" in rest


def test_a_dry_run_is_the_plan(tmp_path):
    plan = call("plan", "--suite", "full", cwd=tmp_path).stdout
    assert call("run", "--suite", "full", "--dry-run", cwd=tmp_path).stdout == plan


def test_the_lite_tier_costs_less_than_half(tmp_path):
    hours = {}
    for tier in ("full", "lite"):
        words = ("plan", "--suite", "full", "--tier", tier, "--gpu-kind", "H200", "--json")
        answer = call(*words, "--gpus", "64", "--price-per-gpu-hour", "2", cwd=tmp_path)
        found = json.loads(answer.stdout)
        hours[tier] = found["gpu_hours"] + found["blocked_gpu_hours"]
        assert found["price"]["total"] == pytest.approx(2 * found["gpu_hours"])
        assert found["device"]["count"] == 64
    assert 0 < hours["lite"] < hours["full"] / 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--suite", "full", "--tier", "light"), "tier of suite full 'light'; did you mean 'lite'"),
        (("--suite", "full", "--gpu-kind", "X1"), "--gpu-kind must be one of GB200, B200"),
        (("--suite", "full", "--gpus", "-1"), "--gpus must be >= 0, got -1"),
        (("--suite", "fall"), "unknown suite 'fall'; did you mean 'full'?"),
        (("--suite", "full", "--price-per-gpu-hour", "-2"), "--price-per-gpu-hour must be >= 0"),
    ],
)
def test_wrong_wishes_are_answered_with_what_is_allowed(tmp_path, words, message):
    answer = call("plan", *words, cwd=tmp_path)
    assert answer.returncode == 2, answer.stdout + answer.stderr
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not list(tmp_path.iterdir())


def test_calibration_without_data_says_what_is_missing(tmp_path):
    answer = call("plan", "--suite", "full", "--calibrate", cwd=tmp_path)
    assert answer.returncode == 3
    assert "imagenet: no folder given" in answer.stderr


def test_jobs_of_a_cluster_have_the_nodes_and_gpus_that_the_site_says(tmp_path):
    (tmp_path / "site.toml").write_text("[slurm]\nnodes = 2\ngpus_per_node = 4\n")
    answer = call("plan", "--suite", "full", "--on", "slurm", "--json", cwd=tmp_path)
    jobs = {(job["row"], job["recipe"]): job for job in json.loads(answer.stdout)["jobs"]}
    assert jobs["MAE ViT-B", "mae"]["gpus"] == 8
    assert jobs["Random init ViT-B", "random_init"]["gpus"] == 1
