"""SLURM that does not answer is not a job that failed; and limits on the queue are waited for."""

import json
import os
import shutil
import signal

import pytest
from real_cluster import wait_for
from trial import Trial, ended, program

ROWS = {"A": {"pause_at": 2}, "B": {"steps": 3}}


@pytest.fixture
def trial(tmp_path):
    return Trial(tmp_path / "runs", ROWS, {}, {})


def lines_until(run, words):
    """Read a run's output until a line has the words; return it all."""
    said = ""
    while words not in said:
        line = run.stdout.readline()
        assert line, said
        said += line
    return said


def test_a_controller_that_is_away_delays_a_run_and_fails_nothing(cluster, trial):
    run = trial.start(answer_s=3.0)
    trial.wait_paused("A")
    said = lines_until(run, "started   A")
    controller = int((cluster.folder / "run" / "slurmctld.pid").read_text())
    os.kill(controller, signal.SIGSTOP)
    try:
        said += lines_until(run, "waiting   squeue did not answer within 3 s")
        trial.release("A")
    finally:
        os.kill(controller, signal.SIGCONT)
    code, rest = ended(run)
    assert code == 0, said + rest
    assert "FAILED" not in said + rest
    assert trial.steps("A") == [1, 2, 3, 4, 5]


def test_a_queue_that_cannot_be_read_is_no_empty_queue(cluster, trial, tmp_path):
    text = f"if [ -e {tmp_path}/broken ]; then echo 'squeue: error: no' >&2; exit 1; fi\n"
    path = program(tmp_path / "bin", "squeue", f'{text}exec {shutil.which("squeue")} "$@"')
    run = trial.start(path=path)
    trial.wait_paused("A")
    lines_until(run, "started   A")
    (tmp_path / "broken").touch()
    said = lines_until(run, "waiting   squeue: no; asked again every 1 s")
    trial.release("A")
    (tmp_path / "broken").unlink()
    code, rest = ended(run)
    assert code == 0, said + rest
    assert len(trial.submitted(cluster)) == 5


def test_a_job_that_slurm_forgot_is_judged_by_its_attempts(cluster, trial, tmp_path):
    """The queue shows nothing, accounting is not there: the job was at work, and is sent again."""
    hidden = f"if [ -e {tmp_path}/gone ]; then exit 0; fi"
    path = program(tmp_path / "bin", "squeue", f'{hidden}\nexec {shutil.which("squeue")} "$@"')
    run = trial.start(path=path)
    paused = trial.wait_paused("A")
    said = lines_until(run, "started   A")
    number = cluster.ask("squeue", "--noheader", "--states=RUNNING", "--format=%i").split()[0]
    (tmp_path / "gone").touch()
    cluster.ask("scancel", "--signal=KILL", "--full", number)
    wait_for(lambda: not os.path.exists(f"/proc/{paused}"))  # noqa: PTH110
    said += lines_until(run, "again     A · counting · seed 0: it left the queue, and SLURM keeps")
    (tmp_path / "gone").unlink()
    code, rest = ended(run)
    assert code == 0, said + rest
    assert trial.steps("A") == [1, 2, 3, 4, 5]


def test_no_more_jobs_are_queued_than_the_site_says_and_all_get_done(cluster, tmp_path):
    rows = {label: {"steps": n} for n, label in enumerate("ABC", 1)}
    trial = Trial(tmp_path / "runs", rows, {"max_queued": 2}, {})
    run = trial.start()
    most = 0
    while run.poll() is None:
        most = max(most, len(cluster.ask("squeue", "--noheader").splitlines()))
    code, said = ended(run)
    assert code == 0, said
    assert 1 <= most <= 2
    assert "jobs for room in the queue (slurm.max_queued is 2)" in said
    assert len(trial.submitted(cluster)) == 7


def test_jobs_beyond_the_clusters_own_limit_are_submitted_as_others_end(
    accounting_cluster, tmp_path
):
    ask = accounting_cluster.ask
    limit = ("sacctmgr", "-i", "modify", "qos", "normal", "set")
    ask(*limit, "MaxSubmitJobsPerUser=2")
    try:
        rows = {label: {"steps": n} for n, label in enumerate("ABC", 1)}
        trial = Trial(tmp_path / "runs", rows, {"check_worker": False}, {})
        code, said = trial.run()
    finally:
        ask(*limit, "MaxSubmitJobsPerUser=-1")
    assert code == 0, said
    assert "QOSMaxSubmitJobPerUserLimit" in said
    assert len(trial.submitted(accounting_cluster)) == 6


def test_a_detached_run_says_what_did_not_fit_and_the_next_run_submits_it(cluster, tmp_path):
    trial = Trial(tmp_path / "runs", ROWS, {"max_queued": 2, "check_worker": False}, {})
    code, said = trial.run("detached")
    assert code == 1
    assert said.count("not submitted; `mae-bench run` again submits it when there is room") == 2
    assert "2 jobs are in the queue; `mae-bench status` says how they stand" in said
    run = trial.start()
    trial.release("A")
    code, said = ended(run)
    assert code == 0, said
    assert len(trial.submitted(cluster)) == 4


def test_accounting_tells_who_cancelled_a_job(accounting_cluster, tmp_path):
    trial = Trial(tmp_path / "runs", {"A": {"pause_at": 2}}, {"check_worker": False}, {})
    run = trial.start()
    trial.wait_paused("A")
    note = trial.folder("A") / "submission.json"
    accounting_cluster.ask("scancel", json.loads(note.read_text())["id"])
    code, said = ended(run)
    assert code == 1
    assert "cancelled A · counting · seed 0: CANCELLED by root" in said
