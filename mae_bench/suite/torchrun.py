"""Runs one job on several ranks through torchrun, on this machine or on several nodes."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from mae_bench.core.parent import PARENT
from mae_bench.core.turns import MINE, Superseded, Turn, mine, note_stop
from mae_bench.kit.pace import REQUEUE
from mae_bench.suite import nodes
from mae_bench.suite.nodes import Place
from mae_bench.suite.verdict import FAILED, error_of, leave_failure, ranks_file, verdict

log = logging.getLogger(__name__)

STOPS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)
POLL_S = 0.1
LOOK_S = 2.0
"""Seconds between two looks at the other nodes."""
ALONE_S = 15.0
"""Seconds that ranks have to end by themselves after those of another node ended."""
FIRST_NODE_S = 60.0
"""Longest wait for the first node's word on how the attempt ended."""


def run_ranks(folder: Path, num_ranks: int, place: Place) -> int:
    """Run the job in folder on that many ranks; return its exit code: 0, 1, or 75 to start again.

    That is 75 where the ranks were told to stop, where one was killed, and where another node did
    not come. This is the first node, whose process has the attempt; the others `follow`.

    A signal to this process goes to the ranks themselves, which save together. No rank outlives
    this process.
    """
    turn = mine()
    assert turn is not None, "ranks belong to an attempt"
    try:
        here = nodes.ranks_here(place, num_ranks)
        address = nodes.gather(turn, place) if place.nodes > 1 else ""
    except ValueError as error:
        leave_failure(folder, error_of(error), turn)
        return FAILED
    except TimeoutError as error:
        log.error("%s; the job is to be started again", error)
        return REQUEUE
    code = _run(_command(folder, turn, place, here, address), here, turn, place)
    turn.check()
    return 0 if code == 0 else verdict(folder, turn, place.nodes)


def follow(folder: Path, place: Place, num_ranks: int) -> int:
    """Run this node's ranks of the attempt that the first node of this start takes.

    Returns the exit code that the attempt has there, once it has ended, or 0 for ranks done.
    """
    turn = nodes.join(folder, place)
    if isinstance(turn, int):
        return turn
    if num_ranks % place.nodes:  # the first node says so
        return nodes.end_of(turn, FIRST_NODE_S)
    os.environ[MINE] = str(turn.folder)
    here = num_ranks // place.nodes
    try:
        code = _run(_command(folder, turn, place, here, ""), here, turn, place)
    except Superseded as gone:
        return int(str(gone.code))
    return 0 if code == 0 else nodes.end_of(turn, FIRST_NODE_S)


def children(process: int) -> list[int]:
    """Return the ids of a process's children, empty if it has ended."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{process}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except OSError:
        pass
    return found


def _command(folder: Path, turn: Turn, place: Place, here: int, address: str) -> list[str]:
    """Return the words that start this node's ranks."""
    ranks = str(ranks_file(turn, place.node))
    what = ["--nproc-per-node", str(here), "-m", "mae_bench.suite.execute", str(folder)]
    if place.nodes == 1:
        alone = ["--standalone", "--local-addr", nodes.LOOPBACK]
        return [sys.executable, "-m", "mae_bench.kit.elastic", ranks, *alone, *what]
    meeting = [str(turn.folder / nodes.RENDEZVOUS), address]
    several = ["--nnodes", str(place.nodes), "--node-rank", str(place.node)]
    return [sys.executable, "-m", "mae_bench.kit.meeting", ranks, *meeting, *several, *what]


def _run(command: list[str], here: int, turn: Turn, place: Place) -> int:
    """Run torchrun to its end and return its exit code; raise Superseded if the attempt is over.

    It starts with these signals blocked, and then ignores them: a scheduler sends them to every
    process of a job, and torchrun would kill its ranks half a minute later.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0))))
    environment = os.environ | {
        "OMP_NUM_THREADS": str(max(1, threads // here)),
        PARENT: str(os.getpid()),
    }
    told: list[int] = []

    def tell(number: int, frame: FrameType | None) -> None:
        told.append(number)

    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    torchrun = subprocess.Popen(command, env=environment)
    for number in STOPS:
        signal.signal(number, tell)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        code = _watch(torchrun, told, turn, place)
    finally:
        if torchrun.poll() is None:
            torchrun.kill()
            torchrun.wait()
    if not ranks_file(turn, place.node).exists():  # it was killed itself
        end = {"code": code, "time": time.time(), "killed": code < 0}
        turn.note(ranks_file(turn, place.node).name, **{f"of node {place.node}": end})
    return code


def _watch(torchrun: subprocess.Popen[bytes], told: list[int], turn: Turn, place: Place) -> int:
    """Return torchrun's exit code; meanwhile pass signals on, and look after the other nodes."""
    reached, noted = set[int](), False
    looked, alone_since = time.monotonic(), 0.0
    while True:
        try:
            return torchrun.wait(POLL_S)
        except subprocess.TimeoutExpired:
            now = time.monotonic()
        if told and not noted:
            note_stop(told[0])
            noted = True
        if told:
            _pass_on(torchrun.pid, told[0], reached)
        if now - looked < LOOK_S:
            continue
        looked = now
        turn.check()
        why = nodes.parted(turn, place) if place.nodes > 1 else ""
        alone_since = (alone_since or now) if why else 0.0
        if alone_since and now - alone_since > ALONE_S:
            log.warning("%s: the ranks of node %d are killed", why, place.node)
            torchrun.kill()


def _pass_on(torchrun: int, number: int, reached: set[int]) -> None:
    """Send a signal to every rank once, as soon as it has a handler for it.

    Before that, while a rank still imports what it needs, the signal would be lost or deadly.
    """
    number = signal.SIGTERM if number == signal.SIGINT else number
    for rank in children(torchrun):
        if rank not in reached and _catches(rank, number):
            try:
                os.kill(rank, number)
            except ProcessLookupError:
                continue
            reached.add(rank)


def _catches(process: int, number: int) -> bool:
    """Return whether a process has a handler for a signal."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return False
    caught = next((line.split()[1] for line in lines if line.startswith("SigCgt")), "0")
    return bool(int(caught, 16) >> (number - 1) & 1)
