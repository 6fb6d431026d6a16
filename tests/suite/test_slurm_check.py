import os

import pytest

from mae_bench.core.files import write_json
from mae_bench.core.slurm import Slurm
from mae_bench.suite.launch.slurm.check import Check
from mae_bench.suite.launch.slurm.worker import FOUND, cores

PYTHON = {"torch": "python"}


def check_with(root, **slurm):
    return Check(root, {"gpus": 8, "interpreters": PYTHON}, Slurm(**slurm))


@pytest.mark.parametrize(
    ("found", "advice"),
    [(1, "a job gets 1 CPU cores for 8 GPUs; set slurm.cpus_per_gpu"), (8, ""), (None, "")],
)
def test_fewer_cores_than_gpus_are_told(tmp_path, found, advice):
    check = check_with(tmp_path)
    content = {"problems": []} if found is None else {"problems": [], "cores": found}
    write_json(check.prepare() / FOUND, content)
    assert check.passed
    assert check.advice == advice


def test_a_job_has_the_cores_that_it_may_run_on_and_was_given(monkeypatch):
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)
    assert cores() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "1")
    assert cores() == 1


def test_a_look_at_a_worker_gets_the_least_notice(tmp_path):
    asked = check_with(tmp_path, notice_s=3600).asked("0a1b2c3d")
    assert (asked.slurm.time, asked.slurm.notice_s) == ("15:00", 60)
