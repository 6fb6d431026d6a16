"""COCO detection as in MAE's Table 4: the recipe; it runs in detectron2_adapter."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from mae_bench.core.recipe import Context, Metric, Resources, require
from mae_bench.kit.archs import PAPER_ARCHS, PAPER_ORIGINS
from transfer.detection import DEMO, EPOCH, DetectionRecipe

WARMUP_START = 0.001
"""Factor of the learning rate at the first iteration, detectron2's; the paper gives none."""


@dataclass(frozen=True, kw_only=True)
class CocoMaskRcnnFpn(DetectionRecipe):
    """Mask R-CNN with FPN on four taps of the encoder, Li et al. 2021 (arXiv 2111.11429).

    It is the protocol of MAE's Table 4 (He et al. 2021, arXiv 2111.06377, A.3), for which no code
    was published; never to be mixed with coco_vitdet's numbers. Defaults are ViT-B's, pretrained
    by MAE. All encoders get zero relative positions beside their absolute ones. Not in the paper
    and as in detectron2's ViTDet: norms and the position embedding have no weight decay, warm-up
    starts at a thousandth, the ViT has no final norm before the pyramid.
    """

    name: ClassVar[str] = "coco_maskrcnn_fpn"
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("box_ap", "COCO box AP (FPN)", per_image="matches", protocol="coco-maskrcnn-fpn"),
        Metric("mask_ap", "COCO mask AP (FPN)", per_image="matches", protocol="coco-maskrcnn-fpn"),
    )
    apart: ClassVar[tuple[str, ...]] = ("image_size",)
    never_without: ClassVar[tuple[str, ...]] = ("random_init",)
    caution: ClassVar[str] = (
        "without a random init the table misleads: with this detector random init reaches 48.9 box "
        "AP (ViT-B; Li et al. 2021, arXiv 2111.11429, Section 4.1) and supervised pretraining 47.9 "
        "(He et al. 2021, arXiv 2111.06377, Table 4)"
    )
    resources: ClassVar[Resources] = Resources(
        gpus=64, hours=20.0, framework="detectron2", demo_seconds=200.0
    )
    published_origins: ClassVar[tuple[str, ...]] = (*PAPER_ORIGINS, "moco_v3")
    published_archs: ClassVar[tuple[str, ...]] = PAPER_ARCHS[:2]

    warmup_iterations: int = int(0.25 * EPOCH)
    """Iterations of linear warm-up, a quarter of an epoch."""
    lr: float = 8e-5
    """Learning rate after warm-up; falls to 0 along half a cosine."""
    layer_decay: float = 1.0
    """Factor of the learning rate from one layer to the one below it, in (0, 1]; 1 is none."""
    mask_convs: int = 4
    """Convolutions of the mask head, before its deconvolution."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "mask_convs", ">= 0", self.mask_convs >= 0)

    @classmethod
    def published(cls, arch: str, origin: str) -> Self:
        """Return the values for ViT-B and L; ViT-H, which was not measured, takes L's.

        The paper reports the best of 25, 50 and 100 epochs, and of 100 to 400 from random init.
        Here it is the longest of each, 100 and 400: a choice made on the test images is left out,
        and a short random init would flatter the others.
        """
        recipe = cls()
        if arch in PAPER_ARCHS[1:]:
            recipe = dataclasses.replace(recipe, drop_path=0.3)
        if origin == "moco_v3":
            return dataclasses.replace(recipe, lr=1.6e-4)
        if origin == "random_init":
            longest = int(400 * EPOCH)
            return dataclasses.replace(recipe, lr=1.6e-4, weight_decay=0.2, iterations=longest)
        return recipe

    @classmethod
    def lite(cls, arch: str, origin: str) -> Self:
        """Return 25 epochs, the shortest of the paper's, and 100 from random init, as there.

        ViT-B pretrained by MAE: 48.1 box AP after 25 and 50.3 after 100 epochs, by one of the
        authors (facebookresearch/mae, issue 43).
        """
        epochs = 100 if origin == "random_init" else 25
        return dataclasses.replace(cls.published(arch, origin), iterations=int(epochs * EPOCH))

    @classmethod
    def demo(cls) -> Self:
        """Return the size for two CPU cores: 96-pixel scenes and narrow heads."""
        own: dict[str, Any] = {"window_size": 4, "mask_convs": 1}
        return dataclasses.replace(cls(), **DEMO | own)

    @property
    def published_schedule(self) -> str:
        """The ledger's word for a length that has numbers of its own; empty for the longest."""
        lengths = {int(epochs * EPOCH): f"{epochs}ep" for epochs in (25, 50)}
        return lengths.get(self.iterations, "")

    def lr_factor(self, iteration: int) -> float:
        """Return the learning rate's factor: linear warm-up to half a cosine over all iterations.

        Warm-up ends at the cosine's own value there, as in detectron2's WarmupParamScheduler.
        """
        ends = self.warmup_iterations
        if iteration < ends:
            done = iteration / ends
            return WARMUP_START * (1 - done) + self._cosine(ends) * done
        return self._cosine(iteration)

    def _cosine(self, iteration: int) -> float:
        """Return half a cosine's value, 1 at the first iteration and 0 after the last."""
        return 0.5 * (1 + math.cos(math.pi * iteration / self.iterations))

    def run(self, ctx: Context) -> dict[str, float]:
        """Return box and mask AP of the last weights on the validation images."""
        from transfer.detectron2_adapter.detect import detect
        from transfer.detectron2_adapter.fpn import model_config

        return detect(self, ctx, model_config)
