"""Looks at what is in a data set, of the kinds that have something to look at."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mae_bench.kit.audit.ade20k import ade20k_faults
from mae_bench.kit.audit.coco import coco_faults
from mae_bench.kit.audit.problems import Fault, Problem, Progress, gathered
from mae_bench.kit.audit.voc import voc_faults
from mae_bench.kit.voc_files import SPLITS


@dataclass(frozen=True)
class Wanted:
    """What is to be looked at, of which data set."""

    dataset: str
    root: Path
    sets: tuple[str, ...] = ()
    """Parts of the data set, where it has some that can be used alone; empty: all."""
    first_label: int = 1
    """Label of the first class in ADE-format label maps: 1, or 0 where 0 is a class."""


def audit(wanted: Wanted, progress: Progress) -> tuple[Problem, ...]:
    """Return all that is wrong with a data set of AUDITS, fatal kinds first.

    `progress(done, total)` is called with counts of files of the split at hand.
    """
    return gathered(AUDITS[wanted.dataset](wanted, progress))


AUDITS: dict[str, Callable[[Wanted, Progress], Iterator[Fault]]] = {
    "coco": lambda wanted, progress: coco_faults(wanted.root, progress),
    "ade20k": lambda wanted, progress: ade20k_faults(wanted.root, wanted.first_label, progress),
    "voc": lambda wanted, progress: voc_faults(wanted.root, wanted.sets or tuple(SPLITS), progress),
}
"""Data set -> what looks at it; of the others the layout alone is checked."""
