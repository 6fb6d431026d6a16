import json
import signal
import subprocess
import sys
import time

import pytest

from mae_bench.core import registry
from mae_bench.core.compute import Compute
from mae_bench.core.owner import this_process
from mae_bench.core.turns import take
from mae_bench.suite import verdict as verdicts
from mae_bench.suite.attempts import attempts
from mae_bench.suite.verdict import ranks_file, verdict

OWN = {"message": "ValueError: mine", "traceback": "ValueError: mine", "time": 2.0}
LOST = {"message": "RuntimeError: gloo/transport/tcp/pair.cc:598", "traceback": "", "time": 1.0}
WORKER = {
    "message": "RuntimeError: DataLoader worker (pid 12) is killed by signal: Killed. ",
    "traceback": "",
    "time": 1.0,
}


def rank(code, killed=False):
    return {"code": code, "time": 5, "killed": killed}


@pytest.fixture
def turn(tmp_path):
    return take(tmp_path / "attempts", 0, this_process())


def leave(turn, nodes, errors):
    for node, ends in enumerate(nodes):
        ranks_file(turn, node).write_text(json.dumps(ends))
    for number, error in enumerate(errors):
        turn.note(f"error-{number}.json", **error)


@pytest.mark.parametrize(
    ("ends", "errors", "code"),
    [
        ({"0": rank(1), "1": rank(-9, True)}, [LOST], 75),
        ({"0": rank(1), "1": rank(-9, True)}, [OWN], 75),
        ({"0": rank(1), "1": rank(75)}, [OWN], 1),
        ({"0": rank(1), "1": rank(1)}, [LOST, OWN], 1),
        ({"0": rank(1), "1": rank(-6, True)}, [OWN], 1),
        ({"0": rank(1), "1": rank(-6, True)}, [LOST], 75),
        ({"0": rank(1)}, [WORKER], 75),
        ({"0": rank(1), "1": rank(1)}, [LOST, LOST], 75),
        ({"0": rank(75), "1": rank(75)}, [], 75),
    ],
    ids=[
        "a killed rank",
        "a killed rank and what another made of it",
        "an error",
        "an error and a connection that was lost by it",
        "an error that made the others abort",
        "an abort",
        "a worker that was killed",
        "connections lost without a reason",
        "a stop",
    ],
)
def test_what_one_nodes_ranks_leave_decides(tmp_path, turn, ends, errors, code):
    leave(turn, [ends], errors)
    assert verdict(tmp_path, turn) == code
    failure = tmp_path / "failure.json"
    assert failure.exists() == (code == 1)
    if code == 1:
        assert json.loads(failure.read_text())["message"] == "ValueError: mine"


def test_a_rank_killed_on_another_node_explains_the_lost_connections(tmp_path, turn):
    leave(turn, [{"0": rank(1)}, {"1": rank(-9, True)}], [LOST])
    assert verdict(tmp_path, turn, nodes=2) == 75


def test_a_node_that_leaves_nothing_is_not_waited_for_for_ever(tmp_path, turn, monkeypatch):
    monkeypatch.setattr(verdicts, "OTHERS_END_S", 0.3)
    leave(turn, [{"0": rank(1)}], [LOST])
    assert verdict(tmp_path, turn, nodes=2) == 75


def test_the_earliest_error_of_several_is_the_reason(tmp_path, turn):
    later = OWN | {"message": "ValueError: later", "time": 3.0}
    leave(turn, [{"0": rank(1), "1": rank(1)}], [later, OWN])
    assert verdict(tmp_path, turn) == 1
    assert json.loads((tmp_path / "failure.json").read_text())["message"] == "ValueError: mine"


def test_an_attempt_that_was_taken_over_decides_nothing(tmp_path, turn):
    leave(turn, [{"0": rank(1)}], [OWN])
    take(tmp_path / "attempts", 1, this_process())
    assert verdict(tmp_path, turn) == 76
    assert not (tmp_path / "failure.json").exists()


@pytest.fixture
def ranked(monkeypatch, build_suite, ground_of):
    """Return a function: end -> the folder of a job on two ranks whose second comes to that end."""
    for name in ("counting", "ranked"):  # the suite of the fixture has rows of "counting"
        monkeypatch.setitem(registry.OBJECTIVES, name, "ranked_recipes:Ranked")

    def folder(end):
        ground = ground_of(build_suite({"Row": {"end": end}}))
        return ground.store.prepare(ground.plan.jobs[0], None, Compute(gpus=2))

    return folder


def test_an_error_of_one_rank_is_the_jobs_failure_and_not_what_the_others_lost(ranked):
    folder = ranked("raise")
    assert subprocess.run(command(folder), check=False).returncode == 1
    failure = json.loads((folder / "failure.json").read_text())
    assert failure["message"] == "ValueError: the second rank went wrong on purpose"


def test_a_killed_rank_ends_all_within_a_minute_and_the_next_attempt_ends_the_job(ranked):
    folder = ranked("kill")
    started = time.monotonic()
    first = subprocess.run(command(folder), check=False, capture_output=True, text=True)
    assert first.returncode == 75, first.stdout
    assert time.monotonic() - started < 60
    assert "the job is to be started again" in first.stdout  # killed, or seen by the other first
    assert not (folder / "failure.json").exists()
    assert subprocess.run(command(folder), check=False).returncode == 0
    assert [attempt.ended["code"] for attempt in attempts(folder)] == [75, 0]
    assert json.loads((folder / "result.json").read_text())["metrics"] == {"score": 52.0}


def test_a_signal_outside_the_training_stops_all_ranks_and_is_no_failure(ranked):
    folder = ranked("wait")
    run = subprocess.Popen(command(folder))
    end = time.monotonic() + 60
    while not (folder / "marker").exists():
        assert run.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 75
    assert not (folder / "failure.json").exists()
    assert [attempt.ended["outcome"] for attempt in attempts(folder)] == ["stopped"]


def command(folder):
    return [sys.executable, "-m", "mae_bench.suite.execute", folder]
