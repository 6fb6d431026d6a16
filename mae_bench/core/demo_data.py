"""The sizes of the demo data set, and where its parts lie."""

import hashlib
from dataclasses import astuple, dataclass
from pathlib import Path

GENERATOR_VERSION = 1
"""Raised when the same sizes would give other images."""


@dataclass(frozen=True)
class DemoData:
    """How many procedural images are made; the same sizes and seed give the same bytes."""

    seed: int = 0
    """Any integer; another seed gives other scenes."""
    num_train_images: int = 1600
    """Classification images for training, over all 8 classes."""
    num_val_images: int = 640
    """Classification images for validation."""
    image_side: int = 80
    """Side of a classification image in pixels."""
    num_train_scenes: int = 600
    """Scenes for detection and segmentation, training."""
    num_val_scenes: int = 100
    """Scenes for detection and segmentation, validation."""
    scene_side: int = 96
    """Side of a scene in pixels."""

    def __post_init__(self) -> None:
        for name in ("num_train_images", "num_val_images", "num_train_scenes", "num_val_scenes"):
            if getattr(self, name) < 8:
                raise ValueError(f"DemoData.{name} must be >= 8, got {getattr(self, name)}")
        for name in ("image_side", "scene_side"):
            if getattr(self, name) < 32:
                raise ValueError(f"DemoData.{name} must be >= 32 pixels, got {getattr(self, name)}")

    @property
    def key(self) -> str:
        """Twelve hex digits that name this data set."""
        text = repr((GENERATOR_VERSION, astuple(self)))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def demo_roots(root: Path) -> dict[str, Path]:
    """Return the data roots, by data set name, of demo data made in root; it has no other set."""
    return {
        "imagenet": root / "imagenet",
        "coco": root / "coco",
        "ade20k": root / "ADEChallengeData2016",
        "voc": root / "VOCdevkit",
    }
