"""Classification of VOC 2007 by linear SVMs on frozen features: the recipe; see voc_svm.py."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from mae_bench.core.recipe import Context, Metric, Resources, require
from mae_bench.kit.archs import Arch
from mae_bench.kit.voc_files import MAIN_2007
from mae_bench.kit.work import Work, encoder_multiply_adds, forward_flops

COSTS = (*(10.0**power for power in range(-7, 3)), *(0.5**power for power in range(4, 20)))


@dataclass(frozen=True, kw_only=True)
class VocClassification:
    """One linear SVM a class on the pooled tokens, Goyal et al. 2019 (arXiv 1905.01235), 6.1.

    Trained on VOC2007 trainval and tested on its test images, nothing augmented. The values are
    those of its appendix and released code: squared hinge, features of length 1, costs chosen for
    each class by the average precision of three-fold cross-validation. As there, an image whose
    objects of a class are all difficult counts as a negative in training and for nothing in the
    test, and average precision is the area under the interpolated curve of precision over recall;
    the challenge's own mean over 11 recalls is the second metric. The paper's tables are of
    convolutional networks, so no encoder here has a published number.
    """

    name: ClassVar[str] = "voc_classification"
    version: ClassVar[int] = 1
    dataset: ClassVar[str] = "voc"
    sets: ClassVar[tuple[str, ...]] = (MAIN_2007,)
    after: ClassVar[str] = ""
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("voc07_map", "VOC07 mAP", protocol="voc-classification"),
        Metric("voc07_map11", "VOC07 mAP, 11 points"),
    )
    apart: ClassVar[tuple[str, ...]] = ("image_size",)
    resources: ClassVar[Resources] = Resources(gpus=1, hours=1.0, demo_seconds=15.0)
    published_origins: ClassVar[tuple[str, ...]] = ()
    published_archs: ClassVar[tuple[str, ...]] = ()

    image_size: int = 224
    """Side of the images in pixels, a centre crop; positions are resized if the encoder's differ.
    Section 6.1 and the released transforms: the shorter side to 256, then 224."""
    costs: tuple[float, ...] = COSTS
    """Costs tried for each class, all above 0; 10^-7 to 10^2 and 2^-4 to 2^-19 in the appendix."""
    positive_weight: float = 2.0
    """Factor of the cost of images that show the class, as in the released code, above 0."""
    folds: int = 3
    """Parts of the training images, each left out once to choose the cost; the paper's 3."""
    iterations: int = 2000
    """Passes of the solver at most, as in the released code."""

    def __post_init__(self) -> None:
        require(self, "image_size", ">= 1", self.image_size >= 1)
        distinct = len(set(self.costs)) == len(self.costs) > 0
        require(self, "costs", "distinct numbers above 0", distinct and min(self.costs) > 0)
        require(self, "positive_weight", "> 0", self.positive_weight > 0)
        require(self, "folds", ">= 2", self.folds >= 2)
        require(self, "iterations", ">= 1", self.iterations >= 1)

    @classmethod
    def published(cls, arch: str, origin: str) -> Self:
        """Return the paper's values: the same for all encoders."""
        return cls()

    @classmethod
    def demo(cls) -> Self:
        """Return the size for two CPU cores."""
        return dataclasses.replace(cls(), image_size=64, costs=(0.1, 1.0, 10.0))

    def work(self, arch: Arch, data: Mapping[str, int]) -> Work:
        """Return the forward passes; the machines' training on a CPU is not among the FLOPs."""
        images = data["images"] + data["test_images"]
        forward = forward_flops(images, encoder_multiply_adds(arch, self.image_size))
        return Work(forward, left_bytes=1e3 * images)

    def run(self, ctx: Context) -> dict[str, float]:
        """Return the mean average precision over the classes, by both definitions."""
        from transfer.voc_svm import linear_svms

        return linear_svms(self, ctx)
