import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import LIMIT_S, wait_for

from mae_bench.core.compute import Compute
from mae_bench.core.files import append_metrics
from mae_bench.suite.attempts import attempts
from mae_bench.suite.execute import execute
from mae_bench.suite.track import MOST_BYTES, Told, tell
from mae_bench.suite.tracking import PARTING_S, output_file

FAULTY = ("hanging_at_open", "raising", "blocking", "dying", "eating_the_end")
ALL_STEPS = {1: {"half": 0.5}, 2: {"half": 1.0}, 3: {"half": 1.5}}
pytestmark = pytest.mark.usefixtures("odd_trackers")


@pytest.fixture
def prepare(build_suite, ground_of):
    """Return a function: names of trackers, fields of a Counting -> its folder, ready to run."""

    def prepare(*trackers, **fields):
        ground = ground_of(build_suite({"Good": {"steps": 3, **fields}}))
        return ground.store.prepare(ground.plan.jobs[0], None, Compute(track=trackers))

    return prepare


@pytest.fixture
def start():
    """Return a function that starts a folder's job in a process, killed with the test."""
    started = []

    def start(folder):
        command = [sys.executable, "-m", "mae_bench.suite.execute", str(folder)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def told(folder, name="remembering"):
    """Return what a tracker was told of the job: openings, steps, ends."""
    path = folder / "trackers" / name / "told.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    opened = [line["opened"] for line in lines if "opened" in line]
    steps = [(line["step"], line["values"]) for line in lines if "values" in line]
    return opened, steps, [line for line in lines if "finished" in line]


def pid_in(path):
    with contextlib.suppress(FileNotFoundError, ValueError):
        return int(path.read_text())
    return None


def runs(pid):
    return Path(f"/proc/{pid}").exists()


def test_a_tracker_of_another_package_is_told_all_of_a_run(prepare):
    folder = prepare("remembering")
    assert execute(folder) == 0
    (opened,), steps, (end,) = told(folder)
    assert dict(steps) == ALL_STEPS
    assert len(steps) == len(ALL_STEPS)
    assert end == {"finished": "done", "step": 3, "metrics": {"result/score": 50.0}}
    assert (opened["name"], opened["resumed"]) == ("Good · counting · seed 0", False)
    job = json.loads((folder / "job.json").read_text())
    assert opened["key"] == folder.name
    assert job["fields"].items() <= opened["config"].items()
    assert opened["config"]["origin"] == "counting"


def test_trackers_that_fail_in_any_way_cost_a_run_a_few_seconds_and_nothing_else(prepare, start):
    folder = prepare(*FAULTY, "shouting", "remembering", pause_at=2)
    job = start(folder)
    for name in ("hanging_at_open", "blocking"):
        wait_for(lambda name=name: pid_in(folder / f"trackers/{name}/pid"))
    for name in ("shouting", "remembering", "eating_the_end"):
        wait_for((folder / f"trackers/{name}.json").exists)
    wait_for(lambda: "told again in 2 s" in output_file(folder, "raising").read_text())
    began = time.monotonic()
    (folder / "paused").unlink()
    printed, _ = job.communicate(timeout=LIMIT_S)
    assert time.monotonic() - began < PARTING_S + 5
    assert job.returncode == 0
    result = json.loads((folder / "result.json").read_text())
    assert result["metrics"] == {"score": 50.0}
    assert [attempt.ended["outcome"] for attempt in attempts(folder)] == ["done"]
    warned = [line for line in printed.splitlines() if "was not told all" in line]
    for name, line in zip(
        sorted(FAULTY), sorted(warned, key=lambda line: line.partition("tracker ")[2]), strict=True
    ):
        assert f"tracker {name} " in line
        assert f"mae-bench track {folder.name} --to {name}" in line
    assert "the server is down" in output_file(folder, "raising").read_text()
    assert output_file(folder, "shouting").stat().st_size <= MOST_BYTES
    assert told(folder)[2][0]["finished"] == "done"


def test_a_job_that_is_stopped_tells_so_and_leaves_at_once_if_it_is_told_again(prepare, start):
    folder = prepare("hanging_at_open", "remembering", pause_at=2)
    job = start(folder)
    tracker = wait_for(lambda: pid_in(folder / "trackers/hanging_at_open/pid"))
    wait_for((folder / "paused").exists)
    wait_for((folder / "trackers/remembering.json").exists)
    job.send_signal(signal.SIGUSR2)
    (end,) = wait_for(lambda: told(folder)[2])
    assert end["finished"] == "stopped"
    began = time.monotonic()
    job.send_signal(signal.SIGTERM)
    assert job.wait(LIMIT_S) == 75
    assert time.monotonic() - began < PARTING_S - 1
    assert not runs(tracker)


def test_a_signal_ends_the_wait_for_trackers_and_leaves_the_exit_code_of_a_done_job(prepare, start):
    folder = prepare("eating_the_end")
    job = start(folder)
    tracker = wait_for(lambda: pid_in(folder / "trackers/eating_the_end/pid"))
    began = time.monotonic()
    job.send_signal(signal.SIGTERM)
    assert job.wait(LIMIT_S) == 0
    assert time.monotonic() - began < PARTING_S - 1
    assert not runs(tracker)
    assert (folder / "result.json").exists()


def test_a_tracker_goes_with_a_job_that_is_killed_and_a_new_attempt_goes_on(prepare, start):
    folder = prepare("remembering", "hanging_at_open", pause_at=2)
    job = start(folder)
    wait_for((folder / "paused").exists)
    tracker = wait_for(lambda: pid_in(folder / "trackers/hanging_at_open/pid"))
    wait_for((folder / "trackers/remembering.json").exists)
    job.kill()
    wait_for(lambda: not runs(tracker))
    (folder / "compute.json").write_text(json.dumps({"track": ["remembering"]}))
    assert execute(folder) == 0
    opened, steps, ends = told(folder)
    assert [one["resumed"] for one in opened] == [False, True]
    assert dict(steps) == ALL_STEPS
    assert len(steps) == len(ALL_STEPS)
    assert [end["finished"] for end in ends] == ["done"]


class Listening:
    def __init__(self):
        self.heard = []

    def log(self, step, values, time):
        self.heard.append((step, values))


def test_steps_that_are_done_again_are_told_once(tmp_path):
    tracker, so_far = Listening(), Told()
    for step, values in [(1, {"a": 1}), (2, {"a": 2}), (3, {"a": 3}), (3, {"knn": 9})]:
        append_metrics(tmp_path, step=step, steps=4, **values)
    assert tell(tracker, so_far, tmp_path)
    for step, values in [(2, {"a": 2}), (3, {"a": 3}), (3, {"knn": 9, "evaluated": "1 of 2"})]:
        append_metrics(tmp_path, step=step, steps=4, **values)
    append_metrics(tmp_path, step=4, steps=4, a=4)
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('nonsense\n{"step": 5, "time": 1, "a": NaN}\n{"step": 6, "ti')
    assert tell(tracker, so_far, tmp_path)
    assert not tell(tracker, so_far, tmp_path)
    heard = [(1, {"a": 1}), (2, {"a": 2}), (3, {"a": 3}), (3, {"knn": 9}), (4, {"a": 4})]
    assert tracker.heard == heard


def test_finished_jobs_are_told_later_and_only_once(three, call, tmp_path):
    key = three["Good", "counting"]
    folder = tmp_path / "runs" / key
    assert call("track", key, "--to", "remembering").lines[-1].endswith("remembering was told")
    assert call("track", key, "--to", "remembering").lines[-1].endswith("knows all of it")
    opened, steps, ends = told(folder)
    assert (len(opened), len(steps), len(ends)) == (1, 5, 1)
    assert ends[0]["metrics"] == {"result/score": 50.0}
    answer = call("track", three["Bad", "counting"], "--to", "remembering")
    assert answer.code == 0
    assert told(tmp_path / "runs" / three["Bad", "counting"])[2][0]["finished"] == "failed"


def test_a_tracker_that_does_not_take_a_finished_job_is_said(three, call):
    answer = call("track", three["Good", "counting"], "--to", "raising", "remembering")
    assert answer.code == 1
    assert "not told: raising failed, see " in answer.lines[0]
    assert answer.lines[1].endswith("remembering was told")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rememberin", "unknown tracker 'rememberin'; did you mean 'remembering'?"),
        ("needing", "tracker needing: no_such_package_anywhere is not installed for "),
        ("broken", "tracker broken: no_such_module:Tracker cannot be loaded "),
    ],
)
def test_a_tracker_that_cannot_be_used_is_told_before_anything_runs(
    call, write_suite, tmp_path, name, message
):
    results = ("--results", tmp_path / "results")
    answer = call("run", "--suite", write_suite(), "--track", "remembering", name, *results)
    assert answer.code == 3
    assert message in answer.err
    assert not list((tmp_path / "runs").glob("*/job.json"))


def test_trackers_are_no_part_of_what_a_job_is(build_suite, ground_of):
    suite = build_suite()
    keys = {
        tuple(job.key for job in ground_of(suite, compute=Compute(track=names)).plan.jobs)
        for names in ((), ("wandb",))
    }
    assert len(keys) == 1
