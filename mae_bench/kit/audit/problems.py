"""What can be wrong with a data set: single faults, gathered by kind with a count and examples."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

from mae_bench.core.compute import Compute

FIRST = 10
"""Examples kept of each kind."""
FEW = 2000
"""Files up to which starting other processes costs more than it saves."""
CHUNK = 256
"""Files that a process looks at in one go."""

UNREADABLE = "unreadable images"
"""The kind of fault that training survives: it takes another image instead."""

Item = TypeVar("Item")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong. `kind` is a plural noun, `where` names the file and what it has."""

    kind: str
    where: str
    fatal: bool = True
    """Whether training would end at it or silently learn something else."""


@dataclass(frozen=True)
class Problem:
    """All faults of a kind."""

    kind: str
    fatal: bool
    count: int
    first: tuple[str, ...]
    """Up to ten examples, in the order of the data."""

    @property
    def line(self) -> str:
        """The problem in one line: how many, and the first of them."""
        return f"{self.count} {self.kind}, the first: {self.first[0]}"

    @property
    def text(self) -> str:
        """The problem with all its examples, a line each."""
        note = "" if self.fatal else " (left out, replaced or clipped in training)"
        return "\n    ".join([f"{self.count} {self.kind}{note}:", *self.first])


def gathered(faults: Iterable[Fault]) -> tuple[Problem, ...]:
    """Return the faults by kind, fatal ones first, each kind in the order of its first fault."""
    counts: dict[tuple[bool, str], int] = {}
    first: dict[tuple[bool, str], list[str]] = {}
    for fault in faults:
        kind = (fault.fatal, fault.kind)
        counts[kind] = counts.get(kind, 0) + 1
        examples = first.setdefault(kind, [])
        if len(examples) < FIRST:
            examples.append(fault.where)
    kinds = sorted(counts, key=lambda kind: not kind[0])
    return tuple(
        Problem(name, fatal, counts[fatal, name], tuple(first[fatal, name]))
        for fatal, name in kinds
    )


def within_budget(faults: Iterable[Fault], num_images: int) -> Iterator[Fault]:
    """Yield the faults of training images, unreadable ones last and fatal only if too many are.

    So many may be as a run replaces by its default.
    """
    unreadable = []
    for fault in faults:
        if fault.kind == UNREADABLE:
            unreadable.append(fault)
        else:
            yield fault
    fatal = len(unreadable) > int(Compute.bad_images * num_images)
    yield from (replace(fault, fatal=fatal) for fault in unreadable)


def inspected(
    inspect: Callable[[Item], list[Fault]], items: Sequence[Item], progress: Progress
) -> Iterator[Fault]:
    """Yield what is wrong with each item, in order; many are looked at by a process for each core.

    `inspect` and the items must be picklable: a function of a module, and data.
    """
    chunks = [items[at : at + CHUNK] for at in range(0, len(items), CHUNK)]
    work = partial(_inspect_all, inspect)
    done = 0
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        answers = map(work, chunks) if len(items) <= FEW else pool.map(work, chunks)
        for chunk, faults in zip(chunks, answers, strict=True):
            yield from faults
            done += len(chunk)
            progress(done, len(items))


def _inspect_all(inspect: Callable[[Item], list[Fault]], items: Sequence[Item]) -> list[Fault]:
    """Return what is wrong with some items."""
    return [fault for item in items for fault in inspect(item)]
