"""Label maps as they lie in PNG files, read without losing what does not fit into a byte."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transfer.mmseg_adapter.model import ignored_index

LABEL_MODES = ("1", "L", "P", "I", "I;16")
"""Pillow's names of pictures with one number a pixel."""


@dataclass(frozen=True)
class LoadLabels:
    """Reads the label map of a sample in mmsegmentation's pipelines.

    mmsegmentation's own LoadAnnotations cuts 16-bit labels to their last byte without a word.
    """

    reduce_zero_label: bool
    num_classes: int

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add `gt_seg_map` to the sample."""
        path = Path(results["seg_map_path"])
        results["gt_seg_map"] = self.read(path)
        results["seg_fields"].append("gt_seg_map")
        return results

    def read(self, path: Path) -> np.ndarray:
        """Return class indices [height, width], ignored ones as `ignored_index` says.

        In a file 255 is ignored, or 65535 where 255 is a class, and 0 with `reduce_zero_label`.
        Raises ValueError naming the file if it is no label map or has any other label.
        """
        with Image.open(path) as image:
            if image.mode not in LABEL_MODES:
                raise ValueError(f"{path} is no label map: one number a pixel, got {image.mode}")
            labels = np.asarray(image).astype(np.int32)
        first = int(self.reduce_zero_label)
        above = first + self.num_classes
        ignored = labels == (255 if above <= 255 else 65535)
        if first:
            ignored |= labels == 0
        wrong = (labels < first) | (labels >= above)
        wrong &= ~ignored
        if wrong.any():
            raise ValueError(
                f"{path} has label {labels[wrong][0]}, expected {first} to {above - 1} for the "
                f"{self.num_classes} classes; mend the file or the list of classes"
            )
        beyond = ignored_index(self.num_classes)
        indices = np.where(ignored, beyond, labels - first)
        return indices.astype(np.uint8 if beyond == 255 else np.uint16)
