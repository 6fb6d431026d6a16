import json
import os
import subprocess
import sys
from pathlib import Path

from mae_bench.core.turns import turns
from mae_bench.suite.attempts import ATTEMPTS

DRIVE = Path(__file__).with_name("drive_races.py")
RECIPES = Path(__file__).parent / "recipes"


def races(folder, rounds, *killed):
    """Run the races and return the folder of each round."""
    done = subprocess.run(
        [sys.executable, DRIVE, folder, str(rounds), *killed],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(RECIPES), *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return sorted(folder.iterdir())


def executions(job):
    """Return the process id of the run that each execution of a job belonged to."""
    file = job / "executed.txt"
    return file.read_text().split() if file.exists() else []


def outcomes(round_folder):
    """Return what each run says of the jobs without a result."""
    return [json.loads(path.read_text()) for path in sorted(round_folder.glob("failed-*.json"))]


def jobs(round_folder):
    return [path.parent for path in round_folder.glob("runs/*/job.json")]


def test_in_100_races_of_4_runs_every_job_is_executed_once_and_all_agree(tmp_path):
    for folder in races(tmp_path / "races", 100):
        assert [len(executions(job)) for job in jobs(folder)] == [1, 1, 1, 1]
        assert len(list(folder.glob("runs/*/result.json"))) == 3
        first, *others = outcomes(folder)
        assert len(others) == 3
        assert all(other == first for other in others)
        reasons = sorted(reason.partition(":")[0] for reason in first.values())
        assert reasons == ["blocked", "blocked", "failed"]


def test_a_run_killed_in_a_race_loses_only_its_own_executions(tmp_path):
    interrupted = 0
    for folder in races(tmp_path / "races", 40, "killed"):
        victim = (folder / "victim").read_text()
        assert len(list(folder.glob("runs/*/result.json"))) == 3
        for job in jobs(folder):
            others = [run for run in executions(job) if run != victim]
            of_victim = executions(job).count(victim)
            assert len(others) <= 1 and of_victim <= 1 and others + [victim] * of_victim
            if others and of_victim:
                interrupted += 1
                assert turns(job / ATTEMPTS)[0].ended is None
        survivors = outcomes(folder)
        assert all(len(failed) == 3 for failed in survivors)
    assert interrupted > 0
