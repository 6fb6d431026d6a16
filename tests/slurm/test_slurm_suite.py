"""Suites of trial jobs through a real SLURM, from submission to results."""

import json
import os
import signal

from real_cluster import wait_for
from trial import ON_ANOTHER_HOST, Trial

AWKWARD = [
    "a\n#SBATCH --wrap=touch${IFS}canary",
    "b; touch canary; $(touch canary) `touch canary`",
    "c' \" | & > canary \\ % %j {x} ../..",
]


def trial_in(folder, rows, **slurm):
    folder.mkdir(parents=True, exist_ok=True)
    return Trial(folder / "runs", rows, slurm, {})


def test_a_suite_is_submitted_at_once_and_a_second_run_submits_nothing(cluster, tmp_path):
    trial = trial_in(tmp_path, {"A": {}, "B": {"steps": 3}})
    code, said = trial.run()
    assert code == 0, said
    assert "submitted 4 jobs; 5 are in the queue" in said
    assert trial.steps("A", "reading") == [1, 2, 3, 4, 5]
    before = trial.submitted(cluster)
    assert len(before) == 5
    code, said = trial.run()
    assert (code, trial.submitted(cluster)) == (0, before)
    assert "4 jobs, 4 cached" in said


def test_a_failed_job_blocks_its_dependents_and_the_others_run(cluster, tmp_path):
    trial = trial_in(tmp_path, {"Bad": {"outcome": "raise"}, "Good": {}})
    code, said = trial.run()
    assert code == 1
    assert "FAILED    Bad · counting · seed 0: ValueError: it went wrong on purpose" in said
    assert "blocked   Bad · reading · seed 0: Bad · counting · seed 0 has no result" in said
    assert "finished  Good · reading · seed 0: score 50.0%" in said
    assert not cluster.ask("squeue", "--noheader")
    code, said = trial.run()  # typed again, it tries again what failed, and that alone
    assert (code, said.count("FAILED"), said.count("finished")) == (1, 1, 0)


def test_nothing_of_a_label_or_a_path_reaches_a_shell_or_an_option(cluster, tmp_path):
    awkward = tmp_path / "a folder; touch canary; $(touch canary) '\" %j %% \\ #SBATCH"
    trial = trial_in(awkward, {label: {"steps": n} for n, label in enumerate(AWKWARD, 2)})
    code, said = trial.run()
    assert code == 0, said
    logs = [path.parent / "log.txt" for path in trial.store.glob("*/result.json")]
    assert len(logs) == 6
    assert not list(tmp_path.rglob("canary*"))
    assert all("done: " in log.read_text() for log in logs)
    assert {path.name for path in awkward.iterdir()} == {"runs"}


def test_a_detached_suite_is_taken_up_from_another_login_node(cluster, tmp_path):
    trial = trial_in(tmp_path, {"A": {"pause_at": 3}})
    code, said = trial.run("detached")
    assert code == 0, said
    assert "3 jobs are in the queue" in said
    paused = trial.wait_paused("A")
    before = trial.submitted(cluster)
    run = trial.start(before=ON_ANOTHER_HOST)
    wait_for(lambda: "started" in run.stdout.readline())
    os.kill(paused, signal.SIGTERM)  # it saves itself, and asks for its next start
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 0, said
    assert "finished  A · reading · seed 0: score 50.0%" in said
    assert trial.steps("A") == [1, 2, 3, 4, 5]
    assert trial.submitted(cluster) == before


def test_a_job_that_a_person_cancels_ends_and_comes_only_with_the_next_run(cluster, tmp_path):
    trial = trial_in(tmp_path, {"A": {"pause_at": 3}})
    run = trial.start()
    trial.wait_paused("A")
    submission = json.loads((trial.folder("A") / "submission.json").read_text())
    cluster.ask("scancel", submission["id"])
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "cancelled A · counting · seed 0: CANCELLED" in said
    assert "blocked   A · reading · seed 0" in said
    code, said = trial.run()
    assert code == 0, said
    assert trial.steps("A") == [1, 2, 3, 4, 5]
