"""Robustness of fine-tuned weights under shifts of the images: the recipe; see robustness.py."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from mae_bench.core.recipe import Context, Metric, Resources, require
from mae_bench.kit.archs import PAPER_ARCHS, PAPER_ORIGINS, Arch
from mae_bench.kit.layouts import CORRUPTIONS, SEVERITIES, SHIFTED
from mae_bench.kit.work import Work, encoder_multiply_adds, forward_flops

METRICS = dict(zip(SHIFTED, ("mce", "top1_a", "top1_r", "top1_sketch"), strict=True))
"""Folder of a set -> the metric that it gives."""
IMAGES = {
    "imagenet-c": 50_000 * len(CORRUPTIONS) * len(SEVERITIES),
    "imagenet-a": 7_500,
    "imagenet-r": 30_000,
    "sketch": 50_889,
}
"""Images of each set as published."""
SIDE = 224
"""Of the images, unless the classifier was trained on others."""


@dataclass(frozen=True, kw_only=True)
class ImagenetRobustness:
    """The fine-tuned classifier on four shifted sets, He et al. 2021, appendix B, Table 13.

    Nothing is trained. ImageNet-C: mean corruption error, relative to AlexNet's (Hendrycks and
    Dietterich 2019, arXiv 1903.12261). ImageNet-A (Hendrycks et al. 2021, arXiv 1907.07174),
    ImageNet-R (arXiv 2006.16241): top-1 among their 200 classes. ImageNet-Sketch (Wang et al. 2019,
    arXiv 1905.13549): top-1.
    """

    name: ClassVar[str] = "imagenet_robustness"
    version: ClassVar[int] = 1
    dataset: ClassVar[str] = "imagenet_robustness"
    after: ClassVar[str] = "imagenet_finetune"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "mce",
            "ImageNet-C mCE",
            unit="",
            higher_is_better=False,
            optional=True,
            protocol="imagenet-c",
        ),
        Metric("top1_a", "ImageNet-A top-1", optional=True, protocol="imagenet-a"),
        Metric("top1_r", "ImageNet-R top-1", optional=True, protocol="imagenet-r"),
        Metric("top1_sketch", "ImageNet-Sketch top-1", optional=True, protocol="imagenet-sketch"),
    )
    resources: ClassVar[Resources] = Resources(gpus=8, hours=1.0, demo_seconds=20.0)
    published_origins: ClassVar[tuple[str, ...]] = PAPER_ORIGINS
    published_archs: ClassVar[tuple[str, ...]] = PAPER_ARCHS

    sets: tuple[str, ...] = SHIFTED
    """Which sets are measured, by the names of their folders; the others are empty cells."""

    def __post_init__(self) -> None:
        distinct = len(set(self.sets)) == len(self.sets) > 0
        known = set(self.sets) <= set(SHIFTED)
        require(self, "sets", f"distinct among {', '.join(SHIFTED)}", distinct and known)

    @classmethod
    def published(cls, arch: str, origin: str) -> Self:
        """Return all four sets, as in Table 13."""
        return cls()

    @classmethod
    def demo(cls) -> Self:
        """Return the same: there is nothing to make smaller, and no demo data for it."""
        return cls()

    def work(self, arch: Arch, data: Mapping[str, int]) -> Work:
        """Return one forward pass over every set as published."""
        images = sum(IMAGES[name] for name in self.sets)
        image = encoder_multiply_adds(arch, SIDE)
        return Work(forward_flops(images, image), left_bytes=100.0 * images)

    def run(self, ctx: Context) -> dict[str, float]:
        """Return the mean corruption error and the accuracies of the sets that are measured."""
        from transfer.robustness import robustness

        return robustness(self, ctx)
