"""Areas of intersection, prediction and truth of each class, by one bincount an image."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor

Counts = Integer[np.ndarray, "classes"]
FEW_RUNS = 4
"""Runs of equal pixels are counted in place of pixels where a run has on average so many."""


@dataclass(frozen=True)
class Areas:
    """Pixels of each class in one image, or summed over many; ignored ones are left out."""

    intersection: Counts
    prediction: Counts
    truth: Counts

    @property
    def union(self) -> Counts:
        """Return the pixels that are of the class in prediction or truth."""
        return self.prediction + self.truth - self.intersection

    @property
    def occurring(self) -> Counts:
        """Return the indices of the classes that prediction or truth has."""
        return np.flatnonzero(self.union)


def areas(
    prediction: Integer[Tensor, "height width"],
    truth: Integer[Tensor, "height width"],
    num_classes: int,
    ignored: int,
) -> Areas:
    """Return the areas of one image, the integers that mmsegmentation's IoUMetric counts.

    Pixels whose truth is `ignored` (255, or 65535 above 255 classes) are left out. Raises
    ValueError for any other truth or prediction that is no class: histograms would drop it. Labels
    are of 16 bits at most, whatever the tensor's type.
    """
    bits = 8 if num_classes <= 255 and ignored <= 255 else 16
    if prediction.is_cuda:
        joint = (truth.int() << bits) | prediction.int()
        joint = joint[truth != ignored]
        _require_classes(joint, bits, num_classes)
        index = (joint >> bits) * num_classes + (joint & ((1 << bits) - 1))
        counted = torch.bincount(index, minlength=num_classes**2).cpu().numpy()
    else:
        counted = _counted(_joint(prediction, truth, bits), bits, num_classes, ignored)
    pairs = counted.reshape(num_classes, num_classes)
    return Areas(pairs.diagonal().copy(), pairs.sum(axis=0), pairs.sum(axis=1))


def total(parts: list[Areas]) -> Areas:
    """Return the sum over images; exact, since the counts are integers of 64 bits."""
    kinds = ("intersection", "prediction", "truth")
    return Areas(*(np.sum([getattr(part, kind) for part in parts], axis=0) for kind in kinds))


def class_ious(found: Areas) -> np.ndarray:
    """Return intersection over union of each class in [0, 1]; NaN where it occurs nowhere."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return found.intersection / found.union


def _joint(prediction: Tensor, truth: Tensor, bits: int) -> np.ndarray:
    """Return truth and prediction of each pixel in one number; ValueError if one does not fit.

    Two bytes where classes fit into one: the arithmetic is bound by memory.
    """
    wide = np.uint16 if bits == 8 else np.uint32
    joint, added = (labels.numpy().ravel().astype(wide) for labels in (truth, prediction))
    for labels in (joint, added):
        if labels.size and labels.max() >= 1 << bits:
            raise ValueError(f"label {labels.max()} does not fit into {bits} bits")
    joint <<= bits
    joint |= added
    return joint


def _counted(joint: np.ndarray, bits: int, num_classes: int, ignored: int) -> np.ndarray:
    """Return how many pixels have each pair (truth, prediction), truth-major.

    Label maps consist of long runs of equal pixels: each run counts once, weighted by its length.
    """
    if joint.size == 0:
        return np.zeros(num_classes**2, np.int64)
    ends = np.flatnonzero(joint[1:] != joint[:-1])
    weights = None
    if FEW_RUNS * ends.size < joint.size:
        weights = np.diff(ends, prepend=-1, append=joint.size - 1)
        joint = joint[np.append(ends, joint.size - 1)]
    kept = joint >> bits != ignored
    joint = joint[kept]
    _require_classes(joint, bits, num_classes)
    index = (joint >> bits).astype(np.intp) * num_classes + (joint & ((1 << bits) - 1))
    if weights is None:
        return np.bincount(index, minlength=num_classes**2)
    counted = np.bincount(index, weights=weights[kept], minlength=num_classes**2)
    return counted.astype(np.int64)  # sums of integers below 2^53 are exact


def _require_classes(joint: np.ndarray | Tensor, bits: int, num_classes: int) -> None:
    """Raise ValueError if a pixel's truth or prediction is no class."""
    for what, labels in (("truth", joint >> bits), ("prediction", joint & ((1 << bits) - 1))):
        if len(labels) and int(labels.max()) >= num_classes:
            raise ValueError(
                f"label {int(labels.max())} in the {what}, expected below {num_classes} or ignored"
            )
