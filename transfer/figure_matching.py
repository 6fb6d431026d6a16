"""Which detections of an image are right: boxes of the same class that overlap by half."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

OVERLAP = 0.5


@dataclass(frozen=True)
class Boxes:
    """The objects of one image, true or detected."""

    corners: np.ndarray
    """Left, top, right, bottom [object, 4], pixels."""
    classes: np.ndarray
    """Class indices [object]."""
    sources: list[dict[str, Any]]
    """The annotations or detections they were read from."""
    crowd: np.ndarray
    """Bool [object]: a region of many, which counts neither as found nor as missed."""


@dataclass(frozen=True)
class Match:
    """What of an image was found."""

    right: np.ndarray
    """Bool for each detection."""
    ignored: np.ndarray
    """Bool for each detection: it lies on a crowd of its class."""
    found: np.ndarray
    """Bool for each true object."""
    objects: int
    """True objects that count."""

    @property
    def hits(self) -> int:
        """Number of true objects that were found."""
        return int(self.right.sum())

    @property
    def errors(self) -> int:
        """Number of wrong detections and of missed objects."""
        return int((~self.right & ~self.ignored).sum()) + self.objects - self.hits

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall in [0, 1]; 1 if nothing was there and found."""
        whole = 2 * self.hits + self.errors
        return 2 * self.hits / whole if whole else 1.0


def match(truth: Boxes, found: Boxes) -> Match:
    """Return which detections, in the order given, are right; each true object is found once.

    As in COCO, a detection takes the object of its class that it overlaps most and that is free.
    """
    right, ignored = np.zeros(len(found.classes), bool), np.zeros(len(found.classes), bool)
    taken = np.zeros(len(truth.classes), bool)
    if len(found.classes) and len(truth.classes):
        overlap = coco_mask.iou(_xywh(found), _xywh(truth), truth.crowd.astype(np.uint8))
        overlap = np.where(found.classes[:, None] == truth.classes[None], overlap, 0.0)
        for i, row in enumerate(overlap):
            free = np.where(taken | truth.crowd, 0.0, row)
            best = int(free.argmax())
            if free[best] >= OVERLAP:
                right[i] = taken[best] = True
            else:
                ignored[i] = bool((row[truth.crowd] >= OVERLAP).any())
    return Match(right, ignored, taken, int((~truth.crowd).sum()))


def _xywh(boxes: Boxes) -> np.ndarray:
    """Return left, top, width, height as pycocotools wants them."""
    corners = boxes.corners
    return np.ascontiguousarray(np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]))
