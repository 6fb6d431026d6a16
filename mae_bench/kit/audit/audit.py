"""Looks at what is in a data set, of the kinds that have something to look at."""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mae_bench.kit.audit.ade20k import ade20k_faults
from mae_bench.kit.audit.coco import coco_faults
from mae_bench.kit.audit.problems import Fault, Problem, Progress, gathered
from mae_bench.kit.audit.voc import voc_faults
from mae_bench.kit.voc_files import SEGMENTATION_2012, SPLITS


@dataclass(frozen=True)
class Wanted:
    """What is to be looked at, of which data set."""

    dataset: str
    root: Path
    sets: tuple[str, ...] = ()
    """Parts of the data set, where it has some that can be used alone; empty: all."""
    first_label: int = 1
    """Label of the first class in ADE-format label maps: 1, or 0 where 0 is a class."""
    train_list: str = "train"
    """List of VOC's images that a segmenter is trained on: a key of LABEL_FOLDERS."""

    @property
    def command(self) -> str:
        """What a user types to look at the same."""
        words = ["mae-bench", "data", "check", self.dataset, str(self.root), *self.sets]
        if self.first_label != 1:
            words += ["--first-label", str(self.first_label)]
        if self.train_list != "train":
            words += ["--train-list", self.train_list]
        return shlex.join(words)

    @property
    def parts(self) -> tuple["Wanted", ...]:
        """The same, each part of the data set by itself and without what does not matter to it."""
        if self.dataset != "voc":
            return (self,)
        lists = {SEGMENTATION_2012: self.train_list}
        return tuple(
            Wanted(self.dataset, self.root, (name,), train_list=lists.get(name, "train"))
            for name in self.sets or SPLITS
        )


def audit(wanted: Wanted, progress: Progress) -> tuple[Problem, ...]:
    """Return all that is wrong with a data set of AUDITS, fatal kinds first.

    `progress(done, total)` is called with counts of files of the split at hand.
    """
    return gathered(AUDITS[wanted.dataset](wanted, progress))


AUDITS: dict[str, Callable[[Wanted, Progress], Iterator[Fault]]] = {
    "coco": lambda wanted, progress: coco_faults(wanted.root, progress),
    "ade20k": lambda wanted, progress: ade20k_faults(wanted.root, wanted.first_label, progress),
    "voc": lambda wanted, progress: voc_faults(
        wanted.root, wanted.sets or tuple(SPLITS), wanted.train_list, progress
    ),
}
"""Data set -> what looks at it; of the others the layout alone is checked."""
