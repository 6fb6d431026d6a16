"""Runs that are killed, and answers of sbatch that are lost: each job is submitted once."""

import json
import re
import shutil

import pytest
from real_cluster import wait_for
from trial import Trial, ended, program

SBATCH = shutil.which("sbatch")
ROWS = {"A": {"pause_at": 2}, "B": {"steps": 3}}
ONE_EACH = 5
"""Jobs of ROWS, and the look at a worker."""


@pytest.fixture
def trial(tmp_path):
    return Trial(tmp_path / "runs", ROWS, {}, {})


def release(trial, cluster):
    """Let the job go on that pauses: end its start, and let SLURM make the next."""
    trial.wait_paused("A")
    note = trial.folder("A") / "submission.json"
    wait_for(note.exists)
    number = json.loads(note.read_text())["id"]
    cluster.ask("scontrol", "requeue", number)


def check_each_ran_once(trial, cluster):
    """Assert that the next run takes up what is in the queue and brings all to its end."""
    run = trial.start()
    release(trial, cluster)
    code, said = ended(run)
    assert code == 0, said
    assert len(trial.submitted(cluster)) == len(set(trial.submitted(cluster))) == ONE_EACH
    assert trial.steps("A") == [1, 2, 3, 4, 5]
    assert trial.steps("B") == [1, 2, 3]


def test_a_run_killed_while_it_follows_leaves_its_jobs_to_the_next(cluster, trial):
    run = trial.start()
    trial.wait_paused("A")
    run.kill()
    run.wait()
    assert cluster.ask("squeue", "--noheader", "--states=RUNNING")
    check_each_ran_once(trial, cluster)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_killed_while_it_submits_is_taken_over_by_the_next(cluster, trial, tmp_path, when):
    real = f'{SBATCH} "$@"'
    lines = {"before": f"kill -KILL $PPID; {real}", "after": f"{real}; kill -KILL $PPID"}
    text = f"echo x >> {tmp_path}/calls\n"
    text += f"if [ $(wc -l < {tmp_path}/calls) = 3 ]; then {lines[when]}; else {real}; fi"
    code, said = trial.run(path=program(tmp_path / "bin", "sbatch", text))
    assert code == -9, said
    assert len(trial.submitted(cluster)) <= 3
    check_each_ran_once(trial, cluster)


@pytest.mark.parametrize(
    "then",
    [
        "exec sleep 600",
        "echo 'sbatch: error: Socket timed out on send/recv operation' >&2; exit 1",
    ],
)
def test_a_job_whose_submission_was_not_answered_is_found_and_not_sent_twice(
    cluster, trial, tmp_path, then
):
    text = f'case "$(cat job.sbatch)" in *counting*) {SBATCH} "$@" >/dev/null; {then};; esac\n'
    path = program(tmp_path / "bin", "sbatch", f'{text}exec {SBATCH} "$@"')
    run = trial.start(path=path, answer_s=2.0)
    release(trial, cluster)
    code, said = ended(run)
    assert code == 0, said
    assert len(trial.submitted(cluster)) == len(set(trial.submitted(cluster))) == ONE_EACH


def test_a_job_that_never_reached_slurm_is_sent_again(cluster, trial, tmp_path):
    error = "sbatch: error: Batch job submission failed: Unable to contact slurm controller"
    text = f"if mkdir {tmp_path}/once 2>/dev/null; then echo '{error}' >&2; exit 1; fi"
    path = program(tmp_path / "bin", "sbatch", f'{text}\nexec {SBATCH} "$@"')
    run = trial.start(path=path)
    release(trial, cluster)
    code, said = ended(run)
    assert code == 0, said
    assert "Unable to contact slurm controller; the job is not in the queue" in said
    assert len(trial.submitted(cluster)) == ONE_EACH


def test_three_runs_at_once_submit_each_job_once_and_all_follow_it(cluster, trial):
    runs = [trial.start() for _ in range(3)]
    release(trial, cluster)
    for code, said in map(ended, runs):
        assert code == 0, said
        assert said.count("finished") == 4
    assert len(trial.submitted(cluster)) == ONE_EACH
    assert trial.steps("A") == [1, 2, 3, 4, 5]


def test_ctrl_c_leaves_the_jobs_in_the_queue_and_says_how_to_go_on(cluster, trial):
    run = trial.start()
    trial.wait_paused("A")
    run.send_signal(2)
    code, said = ended(run)
    assert code == 130, said
    assert re.search("[2-5] jobs stay in the queue; `mae-bench status` says", said), said
    assert wait_for(lambda: cluster.ask("squeue", "--noheader", "--states=RUNNING"))
