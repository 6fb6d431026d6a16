"""PASCAL VOC detection with Faster R-CNN on a simple pyramid: the recipe."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from mae_bench.core.recipe import Context, Metric, Resources
from mae_bench.kit.voc_files import MAIN_2007, MAIN_2012
from transfer.detection import DEMO, DetectionRecipe, require_simple_pyramid, stepped


@dataclass(frozen=True, kw_only=True)
class VocDetection(DetectionRecipe):
    """Faster R-CNN on ViTDet's simple feature pyramid, small enough for one GPU.

    Data, length and metrics are those of MoCo's Table 2 (He et al. 2019, arXiv 1911.05722): train
    on VOC2007 and VOC2012 trainval, 24,000 iterations of 16 images, a tenth of the learning rate at
    18,000 and 22,000, test on VOC2007 test by the 11-point AP. All else is this project's, since
    nobody published values for a plain ViT: optimiser and layer decay are ViTDet's (Li et al. 2022,
    arXiv 2203.16527), images have MoCo's sides of 480 to 800 pixels, but the longer side's.
    """

    name: ClassVar[str] = "voc_detection"
    version: ClassVar[int] = 1
    dataset: ClassVar[str] = "voc"
    sets: ClassVar[tuple[str, ...]] = (MAIN_2007, MAIN_2012)
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("ap50", "VOC07 AP50", protocol="voc-detection"),
        Metric("ap", "VOC07 AP"),
        Metric("ap75", "VOC07 AP75"),
    )
    apart: ClassVar[tuple[str, ...]] = ("image_size",)
    resources: ClassVar[Resources] = Resources(
        gpus=1, hours=6.0, framework="detectron2", demo_seconds=150.0
    )
    published_origins: ClassVar[tuple[str, ...]] = ()
    published_archs: ClassVar[tuple[str, ...]] = ()

    image_size: int = 800
    """Side in pixels of the square that training and test images are padded to."""
    iterations: int = 24000
    """Optimiser steps."""
    milestones: tuple[int, ...] = (18000, 22000)
    """Iterations after which the learning rate falls to a tenth."""
    warmup_iterations: int = 100
    """Iterations of linear warm-up from a thousandth of the learning rate."""
    batch_size: int = 16
    """Images per optimiser step over all devices."""
    lr: float = 1e-4
    """Learning rate after warm-up."""
    layer_decay: float = 0.7
    """Factor of the learning rate from one layer to the one below it, in (0, 1]."""
    scale_min: float = 0.6
    """Least factor of large-scale jitter."""
    scale_max: float = 1.0
    """Greatest factor of large-scale jitter."""
    pyramid_scales: tuple[float, ...] = (4.0, 2.0, 1.0, 0.5)
    """Pyramid levels relative to the patch grid, each half of the one before."""
    relative_positions: bool = field(default=True, metadata={"neutral": True})
    """Whether attention has decomposed relative positions, which start at zero."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_simple_pyramid(self)

    @classmethod
    def published(cls, arch: str, origin: str) -> Self:
        """Return this project's values: ViTDet's layer decay and stochastic depth for the size.

        As in ViTDet there is no layer decay for supervised and random encoders.
        """
        recipe = cls()
        if arch.startswith("vit_large"):
            recipe = dataclasses.replace(recipe, layer_decay=0.8, drop_path=0.4)
        if arch.startswith("vit_huge"):
            recipe = dataclasses.replace(recipe, layer_decay=0.9, drop_path=0.5)
        if origin in ("supervised", "random_init"):
            return dataclasses.replace(recipe, layer_decay=1.0)
        return recipe

    @classmethod
    def demo(cls) -> Self:
        """Return the size for two CPU cores: 96-pixel scenes and narrow heads."""
        own: dict[str, Any] = {
            "milestones": (330,),
            "window_size": 0,
            "pyramid_scales": (2.0, 1.0, 0.5),
        }
        return dataclasses.replace(cls(), **DEMO | own)

    def lr_factor(self, iteration: int) -> float:
        """Return the learning rate's factor: warm-up from 0.001, then a tenth a milestone."""
        return stepped(iteration, self.milestones, self.warmup_iterations)

    def run(self, ctx: Context) -> dict[str, float]:
        """Return the APs of the last weights on VOC2007 test."""
        from transfer.detectron2_adapter.detect import detect
        from transfer.detectron2_adapter.voc import model_config, voc_data

        assert ctx.data is not None
        return detect(self, ctx, model_config, voc_data(ctx.data))
