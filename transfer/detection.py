"""What all detectors' recipes share: the fields of R-CNN on a ViT, and their checks."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from mae_bench.core.recipe import Metric, Resources, require
from mae_bench.kit.archs import Arch
from mae_bench.kit.work import FLOAT_BYTES, Work, encoder_parameters, forward_flops, training_flops
from transfer.dense_work import (
    POSITIVE,
    SCALES,
    Head,
    pyramid_multiply_adds,
    toolbox_arch,
    windowed_multiply_adds,
)

DETECTION_BYTES = 200
"""Of one object in predictions.json, its mask included, roughly."""
EPOCH = 1843.75
"""Iterations of batch 64 in one pass over COCO's 118,000 training images."""
AT_LEAST_ONE = (
    "iterations",
    "batch_size",
    "pyramid_width",
    "box_width",
    "rpn_samples",
    "roi_samples",
    "rpn_proposals",
    "detections_per_image",
)


DEMO: dict[str, Any] = {
    "image_size": 96,
    "iterations": 400,
    "warmup_iterations": 40,
    "batch_size": 4,
    "lr": 8e-4,
    "layer_decay": 1.0,
    "weight_decay": 0.05,
    "drop_path": 0.0,
    "scale_min": 0.7,
    "scale_max": 1.4,
    "pyramid_width": 64,
    "box_convs": 1,
    "box_width": 128,
    "rpn_samples": 64,
    "roi_samples": 32,
    "rpn_proposals": 100,
    "detections_per_image": 20,
}
"""A detector's values for two CPU cores: 96-pixel scenes and narrow heads."""


@dataclass(frozen=True, kw_only=True)
class DetectionRecipe:
    """Common fields of a detector; subclasses add `name`, pyramid, schedule and `run`."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    dataset: ClassVar[str] = "coco"
    after: ClassVar[str] = ""
    metrics: ClassVar[tuple[Metric, ...]]
    resources: ClassVar[Resources]

    image_size: int = 1024
    """Side in pixels of the square that training and test images are padded to."""
    iterations: int = 184375
    """Optimiser steps."""
    warmup_iterations: int
    """Iterations of linear warm-up."""
    batch_size: int = 64
    """Images per optimiser step over all devices."""
    lr: float
    """Learning rate after warm-up."""
    layer_decay: float
    """Factor of the learning rate from one layer to the one below it, in (0, 1]."""
    weight_decay: float = 0.1
    """AdamW weight decay; norms and the position embedding have none."""
    drop_path: float = 0.1
    """Stochastic depth of the last block, rising linearly from 0 at the first."""
    scale_min: float = 0.1
    """Least factor of large-scale jitter."""
    scale_max: float = 2.0
    """Greatest factor of large-scale jitter."""
    window_size: int = 14
    """Side in patches of local attention windows; every depth/4-th block is global. 0: all are."""
    pyramid_width: int = 256
    """Channels of every pyramid level and of the heads' convolutions."""
    box_convs: int = 4
    """Convolutions of the box head, before its one linear layer."""
    box_width: int = 1024
    """Width of the box head's linear layer."""
    rpn_samples: int = 256
    """Anchors an image that the region proposal loss samples."""
    roi_samples: int = 512
    """Proposals an image that the heads' losses sample."""
    rpn_proposals: int = 1000
    """Proposals kept an image after suppression."""
    detections_per_image: int = 100
    """Most detections kept an image."""

    def __post_init__(self) -> None:
        require(self, "image_size", ">= 32", self.image_size >= 32)
        for field in AT_LEAST_ONE:
            require(self, field, ">= 1", getattr(self, field) >= 1)
        fits = 0 <= self.warmup_iterations < self.iterations
        require(self, "warmup_iterations", f"in [0, {self.iterations})", fits)
        require(self, "lr", "> 0", self.lr > 0)
        require(self, "layer_decay", "in (0, 1]", 0 < self.layer_decay <= 1)
        require(self, "weight_decay", ">= 0", self.weight_decay >= 0)
        require(self, "drop_path", "in [0, 1)", 0 <= self.drop_path < 1)
        require(self, "scale_min", "> 0", self.scale_min > 0)
        require(self, "scale_max", f">= {self.scale_min}", self.scale_max >= self.scale_min)
        for field in ("window_size", "box_convs"):
            require(self, field, ">= 0", getattr(self, field) >= 0)

    def lr_factor(self, iteration: int) -> float:
        """Return the factor of the learning rate at an iteration counted from 0."""
        raise TypeError(f"{type(self).__name__} has no schedule")

    def work(self, arch: Arch, data: Mapping[str, int]) -> Work:
        """Return the work of all iterations and of the test images."""
        arch = toolbox_arch(arch)
        mask_convs = int(getattr(self, "mask_convs", -1))
        head = Head(self.pyramid_width, self.box_convs, self.box_width, mask_convs)
        scales = getattr(self, "pyramid_scales", SCALES)
        grid = self.image_size // arch.patch_size
        image = windowed_multiply_adds(arch, self.image_size, self.window_size)
        image += pyramid_multiply_adds(grid, scales, self.pyramid_width)
        learned = head.multiply_adds(self.roi_samples, POSITIVE * self.roi_samples)
        found = head.multiply_adds(self.rpn_proposals, self.detections_per_image)
        tests = data["val_images"]
        parameters = encoder_parameters(arch, self.image_size) + round(head.parameters)
        kept = FLOAT_BYTES * parameters + DETECTION_BYTES * tests * self.detections_per_image
        return Work(
            flops=training_flops(self.iterations * self.batch_size, image + learned)
            + forward_flops(tests, image + found),
            trained=parameters,
            left_bytes=float(kept),
        )


def require_simple_pyramid(recipe: Any) -> None:
    """Raise ValueError naming the field unless milestones and pyramid scales are possible."""
    steps, scales, end = recipe.milestones, recipe.pyramid_scales, recipe.iterations
    rising = list(steps) == sorted(set(steps)) and all(0 < step < end for step in steps)
    require(recipe, "milestones", f"rising and in (0, {end})", rising)
    halving = all(a == 2 * b for a, b in pairwise(scales))
    known = bool(scales) and set(scales) <= {4.0, 2.0, 1.0, 0.5}
    require(recipe, "pyramid_scales", "consecutive among 4, 2, 1, 0.5", halving and known)


def stepped(iteration: int, milestones: tuple[int, ...], warmup_iterations: int) -> float:
    """Return the learning rate's factor: warm-up from 0.001, then a tenth a milestone."""
    factor = float(0.1 ** sum(iteration >= step for step in milestones))
    if iteration >= warmup_iterations:
        return factor
    done = iteration / warmup_iterations
    return factor * (0.001 * (1 - done) + done)
