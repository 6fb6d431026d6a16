"""What a site's own lines and programs may do to a job's script on a real cluster."""

import os
import shlex
import signal

from real_cluster import wait_for
from trial import RECIPES, ROOT, Trial, ended

FATAL = "sh -c 'echo FATAL: no image; exit 255' sh"


def test_a_container_that_does_not_start_ends_its_jobs_at_once_and_is_told(cluster, tmp_path):
    code, said = Trial(tmp_path / "a", {"A": {}}, {"container": FATAL}, {}).run()
    assert code == 1
    assert "a worker is not as it should be: FAILED" in said
    assert "its last words: FATAL: no image; see " in said
    unseen = {"container": FATAL, "check_worker": False}
    code, said = Trial(tmp_path / "b", {"A": {}}, unseen, {}).run()
    assert code == 1
    assert "FAILED    A · counting · seed 0: FAILED" in said
    assert "its last words: FATAL: no image" in said
    ids = (tmp_path / "b" / "store.id", tmp_path / "a" / "store.id")
    ours = tuple(f"mae-{path.read_text().strip()}-" for path in ids)
    ends = cluster.ask("squeue", "--noheader", "--states=all", "--Format=State,RestartCnt,Name:60")
    found = [line.split() for line in ends.splitlines() if line.split()[2].startswith(ours)]
    assert sorted(state for state, _, _ in found) == ["CANCELLED"] * 3 + ["FAILED"] * 2
    assert {restarts for _, restarts, _ in found} == {"0"}


def test_a_job_goes_on_after_a_stop_whatever_its_setup_does(cluster, tmp_path):
    path = shlex.quote(f"{ROOT}:{RECIPES}")
    setup = ["set -eu", f"export PYTHONPATH={path}", "cd /", "trap 'exit 9' TERM USR2"]
    site = {"setup": setup, "extra": ["--export=NONE"], "check_worker": False}
    trial = Trial(tmp_path / "runs", {"A": {"pause_at": 3}}, site, {})
    run = trial.start()
    os.kill(trial.wait_paused("A"), signal.SIGTERM)
    code, said = ended(run)
    assert code == 0, said
    assert trial.steps("A") == [1, 2, 3, 4, 5]
    assert len(list(trial.folder("A").glob("attempts/*"))) == 2
    wait_for(lambda: not cluster.ask("squeue", "--noheader"))
