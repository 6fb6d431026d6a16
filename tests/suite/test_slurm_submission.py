"""What sbatch's answers mean; programs that print them stand for SLURM's."""

import json
import os

import pytest

from mae_bench.core.slurm import Slurm
from mae_bench.suite.launch.queue import Unanswered
from mae_bench.suite.launch.slurm import submission
from mae_bench.suite.launch.slurm.script import Asked
from mae_bench.suite.launch.slurm.submission import Full, Rejected, submit

ASKED = Asked("mae-0a1b2c3d-0123456789abcdef", "MAE", 1, 1, Slurm(), ("true",))
QUEUED = "13|PENDING|Priority||N/A|0|mae-0a1b2c3d-0123456789abcdef|"


@pytest.fixture
def answer(tmp_path, monkeypatch):
    """Return a function: what sbatch says and squeue shows -> what comes of submitting a job."""
    monkeypatch.setattr(submission, "LOST_S", 0.1)
    monkeypatch.setattr(submission, "LOOK_S", 0.01)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def answer(sbatch, squeue=""):
        for name, text in {"sbatch": sbatch, "squeue": f"echo '{squeue}'"}.items():
            (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
            (tmp_path / name).chmod(0o755)
        return submit(ASKED, tmp_path, (), set())

    return answer


@pytest.mark.parametrize("stdout", ["12", "12;cluster", "Welcome 2 you!\n2026\n12;mae\nbye 5"])
def test_the_id_is_found_among_the_words_of_a_site(answer, stdout):
    assert answer(f"echo '{stdout}'; echo 'sbatch: info: no limits today' >&2") == "12"


def test_an_accepted_job_without_an_id_is_looked_for_in_the_queue(answer):
    assert answer("echo Welcome; echo 'sbatch: info: fine' >&2", QUEUED) == "13"
    with pytest.raises(Unanswered, match="the job is not in the queue"):
        answer("echo 'sbatch: info: fine' >&2")


@pytest.mark.parametrize(
    "limit",
    [
        "AssocMaxSubmitJobLimit",
        "AssocGrpSubmitJobsLimit",
        "QOSMaxSubmitJobPerUserLimit",
        "QOSGrpSubmitJobsLimit",
    ],
)
def test_a_limit_on_jobs_in_the_queue_is_no_refusal(answer, limit):
    with pytest.raises(Full, match=limit):
        answer(f"echo 'sbatch: error: {limit}' >&2; exit 1")


def test_a_job_that_the_cluster_will_not_take_is_refused_in_its_words(answer, tmp_path):
    with pytest.raises(Rejected, match="invalid partition specified: none"):
        answer("echo 12; echo 'sbatch: error: invalid partition specified: none' >&2; exit 1")
    assert json.loads((tmp_path / "submission.json").read_text())["refused"] == (
        "invalid partition specified: none"
    )
