"""COCO detection with ViTDet's Mask R-CNN: the recipe; it runs in detectron2_adapter."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from mae_bench.core.recipe import Context, Metric, Resources, require
from mae_bench.kit.archs import PAPER_ARCHS, PAPER_ORIGINS
from mae_bench.kit.work import Cost
from transfer.detection import DEMO, EPOCH, DetectionRecipe, require_simple_pyramid, stepped


@dataclass(frozen=True, kw_only=True)
class CocoVitDet(DetectionRecipe):
    """Mask R-CNN on a simple feature pyramid, Li et al. 2022 (arXiv 2203.16527), Table 8 and A.2.

    Defaults are ViT-B's, pretrained by MAE, as in detectron2's projects/ViTDet. Never to be mixed
    with MAE's own COCO protocol, which has another pyramid and schedule.
    """

    name: ClassVar[str] = "coco_vitdet"
    version: ClassVar[int] = 2
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("box_ap", "COCO box AP", per_image="matches", protocol="coco-vitdet"),
        Metric("mask_ap", "COCO mask AP", per_image="matches", protocol="coco-vitdet"),
    )
    apart: ClassVar[tuple[str, ...]] = ("image_size", "relative_positions")
    never_without: ClassVar[tuple[str, ...]] = ("random_init",)
    caution: ClassVar[str] = (
        "without a random init the table misleads: with this detector, without relative "
        "positions, random init reaches 48.1 box AP and supervised pretraining 47.6 (ViT-B; Li et "
        "al. 2022, arXiv 2203.16527, Table 4)"
    )
    resources: ClassVar[Resources] = Resources(
        gpus=64, hours=20.0, framework="detectron2", demo_seconds=150.0
    )
    published_origins: ClassVar[tuple[str, ...]] = PAPER_ORIGINS
    published_archs: ClassVar[tuple[str, ...]] = PAPER_ARCHS
    published_costs: ClassVar[tuple[Cost, ...]] = tuple(
        Cost(
            arch,
            hours=seconds_per_image * epochs * EPOCH / 3600,
            gpus=64,
            device="A100",
            of=("Li et al. 2022 (ViTDet), arXiv 2203.16527",),
            source=f"{seconds_per_image} s an image on each of 64 A100 for {arch} "
            "(detectron2, projects/ViTDet)",
        )
        for arch, seconds_per_image, epochs in zip(
            PAPER_ARCHS, (0.314, 0.603, 1.098), (100, 100, 75), strict=True
        )
    )

    milestones: tuple[int, ...] = (163889, 177546)
    """Iterations after which the learning rate falls to a tenth."""
    warmup_iterations: int = 250
    """Iterations of linear warm-up from a thousandth of the learning rate."""
    lr: float = 1e-4
    """Learning rate after warm-up."""
    layer_decay: float = 0.7
    """Factor of the learning rate from one layer to the one below it, in (0, 1]."""
    decay_all: bool = False
    """Whether weight decay applies to norms and the position embedding too, as for ViT-H."""
    relative_positions: bool = field(default=True, metadata={"neutral": True})
    """Whether attention has decomposed relative positions, which start at zero; the rows of the
    paper's Table 4 ran without them."""
    pyramid_scales: tuple[float, ...] = (4.0, 2.0, 1.0, 0.5)
    """Pyramid levels relative to the patch grid, each half of the one before."""
    mask_convs: int = 4
    """Convolutions of the mask head, before its deconvolution."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_simple_pyramid(self)
        require(self, "mask_convs", ">= 0", self.mask_convs >= 0)

    @classmethod
    def published(cls, arch: str, origin: str) -> Self:
        """Return the values of Table 8 for ViT-B, L, H and of A.2 for other pretraining.

        Supervised: 50 epochs at 8e-5 without layer decay. Random init: 1.6e-4, weight decay 0.2,
        no layer decay, and MAE's length, since its own is unpublished. These two were measured
        without relative positions; here all have them, so that rows differ by their encoder alone,
        and `caveat` says so.
        """
        recipe = cls()
        if arch == "vit_large_patch16":
            recipe = dataclasses.replace(recipe, layer_decay=0.8, drop_path=0.4)
        elif arch == "vit_huge_patch14":
            recipe = dataclasses.replace(
                recipe,
                layer_decay=0.9,
                drop_path=0.5,
                decay_all=True,
                iterations=int(75 * EPOCH),
                milestones=(122916, 133159),
            )
        if origin == "supervised":
            return dataclasses.replace(
                recipe,
                lr=8e-5,
                layer_decay=1.0,
                iterations=int(50 * EPOCH),
                milestones=(81944, 88773),
            )
        if origin == "random_init":
            return dataclasses.replace(recipe, lr=1.6e-4, layer_decay=1.0, weight_decay=0.2)
        return recipe

    @classmethod
    def lite(cls, arch: str, origin: str) -> Self:
        """Return 50 epochs, the paper's schedule for supervised encoders (A.2), for all pretrained.

        A random init keeps its length: cut as short it would flatter the others.
        """
        if origin == "random_init":
            return cls.published(arch, origin)
        short = cls.published(arch, "supervised")
        return dataclasses.replace(
            cls.published(arch, origin), iterations=short.iterations, milestones=short.milestones
        )

    def caveat(self, arch: str, origin: str) -> str:
        """Return how the source measured that encoder otherwise; empty if it did not."""
        if origin not in ("supervised", "random_init"):
            return ""
        if arch == "vit_huge_patch14":
            return f"no published number for {arch} of origin {origin}"
        return "published without relative positions" if self.relative_positions else ""

    @classmethod
    def demo(cls) -> Self:
        """Return the size for two CPU cores: 96-pixel scenes and narrow heads."""
        own: dict[str, Any] = {
            "milestones": (330,),
            "window_size": 0,
            "pyramid_scales": (2.0, 1.0, 0.5),
            "mask_convs": 1,
        }
        return dataclasses.replace(cls(), **DEMO | own)

    def lr_factor(self, iteration: int) -> float:
        """Return the learning rate's factor: warm-up from 0.001, then a tenth a milestone."""
        return stepped(iteration, self.milestones, self.warmup_iterations)

    def run(self, ctx: Context) -> dict[str, float]:
        """Return box and mask AP of the last weights on the validation images."""
        from transfer.detectron2_adapter.detect import detect
        from transfer.detectron2_adapter.vitdet import model_config

        return detect(self, ctx, model_config)
