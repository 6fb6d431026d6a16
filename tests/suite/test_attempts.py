import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mae_bench.commands.run import run_jobs
from mae_bench.core.files import append_metrics
from mae_bench.core.owner import this_process
from mae_bench.core.turns import Taken, newest, note_stop, take
from mae_bench.suite.attempts import (
    ATTEMPTS,
    adopt,
    at_work,
    attempts,
    begin,
    begin_after,
    disown,
    holder,
    in_vain,
    last_over,
    lost_steps,
    saved_in,
)

DRIVE = Path(__file__).with_name("drive.py")
LIMIT_S = 60


def save(folder, step):
    """Leave a checkpoint of that step in place of the one before."""
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    for old in checkpoints.iterdir():
        old.unlink()
    (checkpoints / f"step-{step:09d}-0123456789abcdef.pt").touch()


def test_three_attempts_that_saved_nothing_new_are_enough_and_progress_starts_the_count_anew(
    tmp_path,
):
    found = []
    for step in [0, 0, 1, 1, 1, 1]:
        if step:
            save(tmp_path, step)
        turn = begin(tmp_path, "")
        found.append(in_vain(tmp_path, 0))
        turn.end("stopped")
    assert found == [False, False, False, False, False, True]


def test_eight_stops_that_each_make_a_step_are_fine(tmp_path):
    for step in range(1, 9):
        turn = begin(tmp_path, "")
        assert not in_vain(tmp_path, 0)
        save(tmp_path, step)
        turn.end("stopped")


def test_whoever_asks_anew_gives_the_job_its_attempts_again(tmp_path):
    for _ in range(4):
        turn = begin(tmp_path, "")
        turn.end("stopped")
    assert in_vain(tmp_path, 0)
    assert not in_vain(tmp_path, 3)


@pytest.mark.parametrize(
    "name", ["core.123", "log.txt", "metrics.jsonl", "mmengine/20260101_000000/a.log", "a.1.part"]
)
def test_what_every_attempt_leaves_is_no_progress(tmp_path, name):
    before = saved_in(tmp_path)
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert saved_in(tmp_path) == before


def test_steps_after_the_last_checkpoint_are_lost_but_not_parts_that_are_kept(tmp_path):
    training, parts = tmp_path / "training", tmp_path / "parts"
    for folder, values in ((training, {"loss": 1.0}), (parts, {})):
        folder.mkdir()
        begin(folder, "").end("stopped")
        append_metrics(folder, step=7, steps=9, **values)
    save(training, 5)
    for folder in (training, parts):
        begin(folder, "")
    assert lost_steps(attempts(training)) == 2
    assert lost_steps(attempts(parts)) == 0


@pytest.mark.parametrize(("ended", "warned"), [(False, True), (True, False)])
def test_an_attempt_killed_while_it_saved_is_told_to_the_next(tmp_path, caplog, ended, warned):
    first = begin(tmp_path, "")
    with at_work(first):
        note_stop(signal.SIGTERM)
    if ended:
        first.end("stopped")
    (first.folder / "owner.json").write_text("{}")  # and its process is gone
    os.utime(first.folder / "beat", (0, 0))
    with at_work(begin(tmp_path, "")):
        pass
    assert ("attempt 1 was told to stop, and killed before its state was saved" in caplog.text) == (
        warned
    )
    assert ("give notice earlier (slurm.notice_s in site.toml)" in caplog.text) == warned


def test_a_start_that_another_was_quicker_for_looks_again(tmp_path):
    begin_after(tmp_path, 0).end("failed")
    with pytest.raises(Taken):
        begin_after(tmp_path, 0)
    assert begin_after(tmp_path, 1).number == 2


def test_an_attempt_is_its_launchers_until_the_child_adopts_it(tmp_path):
    turn = begin_after(tmp_path, 0)
    assert holder(tmp_path).is_this_process
    code = f"""
from pathlib import Path
from mae_bench.core.turns import Turn
from mae_bench.suite.attempts import adopt
adopt(Turn(Path({str(turn.folder)!r})), "")
print("adopted", flush=True)
input()
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "adopted\n"
    assert holder(tmp_path).pid == child.pid
    child.kill()
    child.wait()
    disown(turn, -9)
    assert turn.ended is None
    assert holder(tmp_path) is None


def test_a_child_that_never_adopted_its_attempt_leaves_it_ended(tmp_path):
    turn = begin_after(tmp_path, 0)
    disown(turn, -9)
    assert turn.ended["outcome"] == "killed"
    assert holder(tmp_path) is None


def test_an_attempt_that_was_taken_over_meanwhile_cannot_be_adopted(tmp_path):
    turn = begin_after(tmp_path, 0)
    take(tmp_path / ATTEMPTS, 1, this_process())
    with pytest.raises(SystemExit) as end:
        adopt(turn, "")
    assert end.value.code == 76


def test_an_attempt_at_work_is_not_over(tmp_path):
    assert last_over(tmp_path) == 0
    turn = begin(tmp_path, "")
    assert last_over(tmp_path) == 0
    turn.end("failed")
    assert last_over(tmp_path) == 1


def test_a_job_that_always_dies_fails_after_three_attempts_and_gets_three_more_from_the_next_run(
    build_suite, ground_of
):
    ground = ground_of(build_suite({"Row": {"outcome": "die"}}))
    job = ground.plan.jobs[0]
    for killed in (4, 7):  # the very first one saved something
        failed = run_jobs(ground, 1)
        assert re.search(r"3 attempts in a row saved nothing new \(killed, killed", failed[job.key])
        folder = ground.store.dir(job)
        assert (folder / "steps.txt").read_text().split() == ["1", "2", "3", "4", "5"]
        ends = [attempt.ended for attempt in attempts(folder)]
        assert ends.count(None) == killed
        assert newest(folder / ATTEMPTS).ended["outcome"] == "failed"


def test_ctrl_c_three_times_before_anything_is_saved_is_no_failure(build_suite, ground_of):
    ground = ground_of(build_suite())
    for _ in range(4):
        run = subprocess.Popen(
            [sys.executable, DRIVE, ground.store.root, "{}"], stdout=subprocess.PIPE, text=True
        )
        for line in run.stdout:
            if line.startswith("started"):
                run.send_signal(signal.SIGINT)
                break
        run.stdout.read()
        assert run.wait(LIMIT_S) == 130
        assert not list(ground.store.root.glob("*/failure.json"))
    assert not run_jobs(ground, 2)
