import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mae_bench.core import registry
from mae_bench.core.compute import Compute
from mae_bench.core.site import Site
from mae_bench.suite import nodes
from mae_bench.suite.attempts import attempts, begin
from mae_bench.suite.nodes import Place, join, place, ranks_here
from mae_bench.suite.preflight import single_ground
from mae_bench.suite.torchrun import children

LIMIT_S = 120


@pytest.fixture
def folder_of(tmp_path, monkeypatch):
    """Return a function: ranks, fields of Meeting -> the prepared folder of such a job."""
    from meeting_recipe import Meeting

    monkeypatch.setitem(registry.OBJECTIVES, "meeting", "meeting_recipe:Meeting")

    def prepare(ranks, **fields):
        ground = single_ground(Meeting(**fields), 0, None, "row", Site(store=tmp_path / "runs"))
        return ground.store.prepare(ground.plan.jobs[0], None, Compute(gpus=ranks))

    return prepare


def start(folder, node, num_nodes=2, name="test/1/0", **environment):
    """Start one node's process of a job."""
    told = {nodes.NODES: str(num_nodes), nodes.NODE: str(node), nodes.START: name}
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "mae_bench.suite.execute", folder],
            env=os.environ | told | environment,
            stdout=log,
            stderr=log,
        )


def codes(processes):
    return [process.wait(LIMIT_S) for process in processes]


def wait_for(condition):
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_ranks_of_two_nodes_meet_at_another_port_where_the_users_is_taken(folder_of):
    folder = folder_of(4)
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        settings = {"MASTER_PORT": port, "OMP_NUM_THREADS": "4"}
        ends = codes([start(folder, node, **settings) for node in (1, 0)])
    assert ends == [0, 0], (folder / "log.txt").read_text()
    seen = [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(4)]
    assert [one["WORLD_SIZE"] for one in seen] == ["4"] * 4
    assert [one["LOCAL_RANK"] for one in seen] == ["0", "1", "0", "1"]
    assert [one["OMP_NUM_THREADS"] for one in seen] == ["2"] * 4
    assert {(one["MASTER_ADDR"], one["GLOO_SOCKET_IFNAME"]) for one in seen} == {
        ("127.0.0.1", "lo")
    }
    (used,) = {one["MASTER_PORT"] for one in seen}
    assert used != port
    assert f"port {port} cannot be used" in (folder / "log.txt").read_text()
    assert json.loads((folder / "result.json").read_text())["metrics"] == {"score": 4.0}


def test_a_signal_that_comes_before_the_ranks_can_take_it_is_not_lost(folder_of):
    folder = folder_of(2, steps=2)
    run = start(folder, 0, 1)
    wait_for(lambda: children(run.pid))  # torchrun, which imports what it needs for seconds
    everyone = [run.pid, *children(run.pid)]
    for process in everyone:  # as schedulers do
        os.kill(process, signal.SIGTERM)
    assert run.wait(LIMIT_S) == 75, (folder / "log.txt").read_text()
    assert not any(Path(f"/proc/{process}").exists() for process in everyone[1:])
    assert [attempt.ended["outcome"] for attempt in attempts(folder)] == ["stopped"]


def test_ranks_that_wait_for_ever_for_a_killed_one_on_another_node_are_ended(folder_of):
    folder = folder_of(2, steps=2)
    runs = [start(folder, node) for node in (0, 1)]
    wait_for(lambda: (folder / "rank-1.json").exists() and (folder / "rank-0.json").exists())
    (torchrun,) = children(runs[1].pid)
    (rank,) = children(torchrun)
    os.kill(rank, signal.SIGKILL)
    assert codes(runs) == [75, 75], (folder / "log.txt").read_text()
    assert not (folder / "failure.json").exists()
    log = (folder / "log.txt").read_text()
    assert "the ranks of node 1 have ended: the ranks of node 0 are killed" in log
    assert "killed: rank 1 by signal 9" in log


def test_a_node_joins_the_attempt_of_its_own_start_only_and_once(folder_of):
    folder = folder_of(2)
    begin(folder, "test/1/0").end("stopped", code=75)
    joined = []
    waiting = threading.Thread(
        target=lambda: joined.append(join(folder, Place(2, 1, "test/1/1"))), daemon=True
    )
    waiting.start()
    turn = begin(folder, "test/1/1")
    waiting.join(LIMIT_S)
    assert joined == [turn]
    again = threading.Thread(target=join, args=(folder, Place(2, 1, "test/1/1")), daemon=True)
    again.start()
    again.join(3 * nodes.POLL_S)
    assert again.is_alive()
    turn.end("stopped", code=75)
    again.join(LIMIT_S)
    assert not again.is_alive()


def test_all_nodes_of_a_start_end_where_another_process_has_the_job(folder_of):
    folder = folder_of(2)
    begin(folder, "")
    assert codes([start(folder, node) for node in (1, 0)]) == [76, 76]
    assert not (folder / "failure.json").exists()


def test_ranks_that_the_nodes_cannot_share_fail_on_all_with_the_reason(folder_of):
    folder = folder_of(3)
    assert codes([start(folder, node) for node in (1, 0)]) == [1, 1]
    message = json.loads((folder / "failure.json").read_text())["message"]
    assert "compute.gpus must be a multiple of the 2 nodes, got 3" in message


def test_a_node_that_never_comes_is_waited_for_and_the_job_to_be_started_again(
    folder_of, monkeypatch
):
    folder = folder_of(2)
    monkeypatch.setattr(nodes, "ALL_HERE_S", 0.0)
    turn = begin(folder, "test/1/0")
    with pytest.raises(TimeoutError, match="1 of 2 nodes did not come in 0 s"):
        nodes.gather(turn, Place(2, 0, "test/1/0"))


def test_two_machines_of_one_name_meet_at_an_address_that_both_reach(tmp_path, monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    turn = begin(tmp_path, "test/1/0")
    turn.note("node-1.json", host=socket.gethostname(), system="another boot")
    address = nodes.gather(turn, Place(2, 0, "test/1/0"))
    assert address == nodes._address(nodes.ELSEWHERE)
    assert not address.startswith("127.")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"MAE_BENCH_NODES": "2", "MAE_BENCH_NODE": "2"}, r"in \[0, MAE_BENCH_NODES\), got 2 of 2"),
        ({"MAE_BENCH_NODES": "two"}, "MAE_BENCH_NODES must be a whole number, got 'two'"),
        ({"MAE_BENCH_NODES": "2"}, "MAE_BENCH_NODES is 2, and MAE_BENCH_START is not set"),
    ],
)
def test_a_place_that_contradicts_itself_is_refused(told, message):
    with pytest.raises(ValueError, match=message):
        place(told)


def test_without_a_word_a_node_is_alone():
    assert place({}) == Place(1, 0, "")
    assert ranks_here(Place(2, 1, "test/1/0"), 8) == 4
