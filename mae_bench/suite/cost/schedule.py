"""When jobs that wait for each other are all done, on so many devices: list scheduling."""

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mae_bench.suite.plan import Plan


@dataclass(frozen=True)
class Piece:
    """What is left of one job."""

    key: str
    seconds: float
    gpus: int
    after: str = ""
    """Key of the piece that must be done before; empty, or one that is no piece: none."""


def chain_seconds(plan: Plan, expected: Mapping[str, float]) -> dict[str, float]:
    """Return, for every job, the seconds of the longest line of jobs that starts with it."""
    after: dict[str, float] = defaultdict(float)
    chain = {}
    for job in reversed(plan.jobs):
        chain[job.key] = expected[job.key] + after[job.key]
        source = plan.source_of(job)
        if source is not None:
            after[source.key] = max(after[source.key], chain[job.key])
    return chain


def wall_seconds(pieces: Sequence[Piece], chain: Mapping[str, float], devices: int) -> float:
    """Return when the last piece ends if each starts as soon as its devices are free.

    Those with the longest chain behind them come first, and a smaller one may pass one that does
    not fit yet. A piece of more devices than there are takes all of them, and as much longer.
    """
    order = sorted(pieces, key=lambda piece: -chain[piece.key])
    open_keys = {piece.key for piece in pieces}
    ends: list[tuple[float, str, int]] = []
    now, free = 0.0, devices
    while order or ends:
        for piece in list(order):
            need = min(piece.gpus, devices)
            if free >= need and piece.after not in open_keys:
                order.remove(piece)
                free -= need
                seconds = piece.seconds * max(1, piece.gpus) / max(1, need)
                heapq.heappush(ends, (now + seconds, piece.key, need))
        now, key, need = heapq.heappop(ends)
        open_keys.remove(key)
        free += need
    return now


def suite_left(
    waiting: Mapping[str, float],
    running: Mapping[str, float],
    chain: Mapping[str, float],
    parallel: int,
) -> float:
    """Return the seconds until all is done: the work shared out, but no less than any chain.

    `waiting` holds the expected seconds and `running` the seconds left, by key.
    """
    work = sum(waiting.values()) + sum(running.values())
    longest = max((chain[key] for key in waiting), default=0.0)
    return max([work / parallel, longest, *running.values()])
