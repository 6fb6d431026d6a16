"""Which training images keep their labels when only a share of them may be used."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from mae_bench.kit.samples import Samples
from mae_bench.kit.subsets import stratified


@dataclass(frozen=True)
class Labelled:
    """The training images whose labels may be used."""

    percent: int
    indices: Int[ndarray, " chosen"]
    """Rising."""
    source: str
    """The list's name, or the seed they were chosen by."""
    sha256: str
    """Of their names, sorted, one a line."""

    @property
    def facts(self) -> dict[str, Any]:
        """Return what a result should say of them."""
        return {"source": self.source, "images": len(self.indices), "sha256": self.sha256}

    @property
    def deviations(self) -> list[str]:
        """Return what differs from the published share of labels, in words."""
        if self.source == list_name(self.percent):
            return []
        return [f"{self.percent} % of the labels by {self.source}, published a list of images"]


def list_name(percent: int) -> str:
    """Return the file in the data root that lists the images of that share."""
    return f"{percent}percent.txt"


def labelled(root: Path, samples: Samples, percent: int, seed: int) -> Labelled:
    """Return the images listed in the data root, else that share of each class by seed.

    The lists are those of SimCLR (Chen et al. 2020, arXiv 2002.05709), 1percent.txt and
    10percent.txt: an image's file name a line. Raises ValueError for a listed image that is not
    there or not alone of its name, and for a class that is left without a label.
    """
    path = root / list_name(percent)
    if path.is_file():
        indices, source = _listed(samples, path), path.name
    else:
        indices, source = stratified(samples, percent / 100, seed), f"seed {seed}"
    counts = np.bincount(samples.labels[indices], minlength=len(samples.classes))
    if not counts.all():
        raise ValueError(
            f"{path if source == path.name else samples.root}: class "
            f"{samples.classes[int(counts.argmin())]} has no labelled image, expected one or more "
            "of every class; mend the list or remove the class"
        )
    names = sorted(samples.short_name(index) for index in indices.tolist())
    digest = hashlib.sha256("".join(f"{name}\n" for name in names).encode()).hexdigest()
    return Labelled(percent, indices, source, digest)


def _listed(samples: Samples, path: Path) -> Int[ndarray, " chosen"]:
    """Return the indices of the images that the file names, each with its folder or without."""
    lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    places: dict[str, list[int]] = {line: [] for line in lines}
    for index in range(len(samples)):
        name = samples.short_name(index)
        for key in {name, name.rpartition("/")[2]} & places.keys():
            places[key].append(index)
    missing = [line for line in places if not places[line]]
    if missing:
        raise ValueError(
            f"{path}: {len(missing)} of {len(lines)} listed images are not in {samples.root}, such "
            f"as {missing[0]}; expected names such as {samples.short_name(0)}: complete the data"
        )
    indices = [index for found in places.values() for index in found]
    if not len(indices) == len(set(indices)) == len(lines):
        counts = Counter(lines)
        twice = next((x for x in lines if counts[x] > 1 or len(places[x]) > 1), lines[0])
        raise ValueError(
            f"{path}: {twice} names more than one image or is listed twice; expected each image "
            "once, with its folder where the name alone is not enough"
        )
    return np.array(sorted(indices), dtype=np.int64)
