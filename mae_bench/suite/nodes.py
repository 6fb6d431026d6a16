"""Several nodes at one job: the first takes the attempt, the others find it and join.

Everything goes through the attempt's folder. Folders are listed rather than asked for a file:
network file systems remember for up to a minute that a file is not there.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mae_bench.core.files import write_json
from mae_bench.core.owner import this_process
from mae_bench.core.turns import BUSY, Turn, newest
from mae_bench.kit.pace import REQUEUE
from mae_bench.suite.attempts import ATTEMPTS

log = logging.getLogger(__name__)

NODES, NODE, START = "MAE_BENCH_NODES", "MAE_BENCH_NODE", "MAE_BENCH_START"
RENDEZVOUS = "rendezvous.json"
"""In an attempt's folder: address and port of its first node, once that listens."""
DECLINED = "declined.json"
"""Beside the attempts: the start whose first node found that there is nothing to do for it."""
ALL_HERE_S = 600.0
"""Longest wait for the other nodes: a scheduler starts them together, containers take a while."""
POLL_S = 0.2
LOOPBACK = "127.0.0.1"
ELSEWHERE = "192.0.2.1"
"""An address of no machine (RFC 5737): the way to it is that to all which is not near."""


@dataclass(frozen=True)
class Place:
    """This node among those that one start of a job has."""

    nodes: int = 1
    node: int = 0
    start: str = ""
    """What the start is called, the same on all its nodes, such as slurm/JOB/RESTARTS."""


def place(environ: Mapping[str, str]) -> Place:
    """Return this node's place as the environment tells it; ValueError if it contradicts itself."""
    nodes, node = (_number(environ, name, value) for name, value in ((NODES, 1), (NODE, 0)))
    if nodes < 1 or not 0 <= node < nodes:
        raise ValueError(
            f"{NODE} must be in [0, {NODES}), got {node} of {nodes}; nodes are counted from 0"
        )
    start = environ.get(START, "")
    if nodes > 1 and not start:
        raise ValueError(
            f"{NODES} is {nodes}, and {START} is not set; give all nodes of one start of the job "
            "the same name, and each start another, such as slurm/JOB/RESTARTS"
        )
    return Place(nodes, node, start)


def ranks_here(place: Place, ranks: int) -> int:
    """Return how many of a job's ranks each node runs; ValueError if they cannot be divided."""
    if ranks % place.nodes:
        raise ValueError(
            f"compute.gpus must be a multiple of the {place.nodes} nodes, got {ranks}; "
            "it counts the processes of all nodes together"
        )
    return ranks // place.nodes


def decline(folder: Path, place: Place, code: int) -> None:
    """Let the other nodes of this start end with that code: the first takes no attempt."""
    if place.nodes > 1:
        write_json(folder / ATTEMPTS / DECLINED, {"start": place.start, "code": code})


def join(folder: Path, place: Place) -> Turn | int:
    """Return the attempt that the first node of this start took, joined; or this node's exit code.

    An attempt of another start is never joined, nor one that this node has joined before.
    """
    limit = time.monotonic() + ALL_HERE_S
    while time.monotonic() < limit:
        turn = newest(folder / ATTEMPTS)
        owner = None if turn is None else turn.owner
        if turn is not None and owner is not None and owner.started_by == place.start:
            ended = turn.ended
            if ended is not None:
                return int(ended.get("code", REQUEUE))
            if _joined(place.node) not in names(turn.folder):
                turn.note(_joined(place.node), **asdict(this_process(place.start)))
                return turn
        else:
            declined = _read(folder / ATTEMPTS / DECLINED)
            if declined is not None and declined.get("start") == place.start:
                return int(declined["code"])
        time.sleep(POLL_S)
    log.error("no attempt of %s in %.0f s: its first node did not come", place.start, ALL_HERE_S)
    return REQUEUE


def gather(turn: Turn, place: Place) -> str:
    """Return the address under which all nodes reach this one, the first, as soon as all joined.

    TimeoutError names those that did not come. MASTER_ADDR of the environment goes before.
    """
    limit = time.monotonic() + ALL_HERE_S
    wanted = {_joined(node) for node in range(1, place.nodes)}
    while missing := wanted - names(turn.folder):
        turn.check()
        if time.monotonic() > limit:
            raise TimeoutError(
                f"{len(missing)} of {place.nodes} nodes did not come in {ALL_HERE_S:.0f} s"
            )
        time.sleep(POLL_S)
    given = os.environ.get("MASTER_ADDR")
    if given:
        return given
    others = [(turn.read(name) or {}) for name in sorted(wanted)]
    me = this_process()
    machine = (me.host, me.system.partition(" ")[0])
    if all((o.get("host"), str(o.get("system")).partition(" ")[0]) == machine for o in others):
        return LOOPBACK
    hosts = [str(o["host"]) for o in others if o.get("host") not in (None, me.host)]
    return _address(hosts[0] if hosts else ELSEWHERE)


def parted(turn: Turn, place: Place) -> str:
    """Return why this node's ranks have nobody to train with any more; empty while they have."""
    if turn.superseded:
        return "a newer attempt is at work"
    there = names(turn.folder)
    for node in range(place.nodes):
        name = f"ranks-{node}.json"
        if node != place.node and name in there and turn.read(name):
            return f"the ranks of node {node} have ended"
    if place.node > 0 and turn.ended is not None:
        return "the first node has ended"
    return ""


def end_of(turn: Turn, within_s: float) -> int:
    """Return the exit code of the attempt, 75 if its first node leaves none in that time."""
    limit = time.monotonic() + within_s
    while time.monotonic() < limit:
        if turn.superseded:
            return BUSY
        ended = turn.ended
        if ended is not None:
            return int(ended.get("code", REQUEUE))
        time.sleep(POLL_S)
    return REQUEUE


def names(folder: Path) -> set[str]:
    """Return the names in a folder as they are on the server now."""
    return {path.name for path in folder.iterdir()}


def _joined(node: int) -> str:
    """Return the file that says that a node has joined."""
    return f"node-{node}.json"


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    """Return a variable that holds a whole number."""
    text = environ.get(name, str(default))
    if not text.isdecimal():
        raise ValueError(f"{name} must be a whole number, got {text!r}")
    return int(text)


def _address(other: str) -> str:
    """Return this machine's address on the way to another one; its name where that is unknown."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((other, 9))  # chooses the way, sends nothing
            mine = str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()
    return socket.gethostname() if mine.startswith("127.") else mine


def _read(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file, None if there is none."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found
