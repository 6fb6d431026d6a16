"""SimSiam (Chen and He 2020): predict the other view's projection, which gradients do not reach."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from mae_bench.core.recipe import Resources
from mae_bench.kit.archs import ARCHS
from mae_bench.kit.schedule import scaled_lr
from pretrain.siamese import SiameseRecipe

if TYPE_CHECKING:
    from torch import Tensor

    from mae_bench.kit.optim import Group
    from pretrain.siamese_model import Siamese


@dataclass(frozen=True, kw_only=True)
class SimSiam(SiameseRecipe):
    """SimSiam, Chen and He 2020 (arXiv 2011.10566), sec. 3 and 4.

    Each view's prediction is drawn to the projection of the other, through which no gradient
    passes. The views are MoCo v2's: crops from 0.2, stronger jitter of saturation than BYOL's, half
    of them blurred, none solarised. Defaults are those of ResNet-50: nobody published values for a
    Vision Transformer. The rate falls at every step, where the authors' code lowers it once an
    epoch.
    """

    name: ClassVar[str] = "simsiam"
    resources: ClassVar[Resources] = Resources(gpus=8, hours=24.0, demo_seconds=240.0)
    published_archs: ClassVar[tuple[str, ...]] = ()

    epochs: int = 100
    warmup_epochs: int = 0
    batch_size: int = 512
    optimizer: Literal["adamw", "sgd"] = "sgd"
    lr_per_256: float = 0.05
    weight_decay: float = 1e-4
    crop_scale_min: float = 0.2
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    blur_probability: tuple[float, float] = (0.5, 0.5)
    solarize_probability: tuple[float, float] = (0.0, 0.0)
    predictor: bool = True
    """Whether a predictor stands behind the projector; without one outputs collapse (Table 1)."""
    head_norm: Literal["none", "hidden", "all"] = "all"
    """Layers of the projector that BatchNorm follows (Table 3 a, b, c); with none there is none in
    the predictor either, else one follows its hidden layer."""
    output_width: int = 2048
    """Width of the projector's layers, and of what is compared."""
    predictor_width: int = 512
    """Width of the predictor's hidden layer."""
    fixed_predictor_lr: bool = True
    """Whether the predictor's learning rate stays at the base rate (Table 1)."""
    stop_gradient: bool = True
    """Whether gradients stop at what is predicted; without that the outputs collapse (Fig. 2)."""

    @classmethod
    def demo(cls) -> Self:
        """Return the size for two CPU cores, with the FLOPs of the four others like it.

        Images are smaller than in MAE's demo and epochs fewer. Of four settings, three with AdamW,
        this did best in the linear probe on the demo's own data.
        """
        return dataclasses.replace(
            cls(),
            arch="vit_demo_patch8",
            image_size=48,
            epochs=12,
            warmup_epochs=1,
            batch_size=64,
            lr_per_256=0.4,
            crop_scale_min=0.35,
            output_width=128,
            predictor_width=32,
        )

    def head_sizes(self, width: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the widths from layer to layer of projector and predictor, empty for none."""
        out = self.output_width
        predictor = (out, self.predictor_width, out) if self.predictor else ()
        return (width, out, out, out), predictor

    def objective(self, data: Path) -> "Siamese":
        """Return the networks: three layers project, a bottleneck of two predicts (sec. 3)."""
        from mae_bench.kit.heads import mlp
        from pretrain.siamese_model import Siamese

        projector, predictor = self.head_sizes(ARCHS[self.arch].width)
        norm = "none" if self.head_norm == "none" else "hidden"
        return Siamese(
            self,
            predictor=mlp(predictor, norm) if predictor else None,
            projector=mlp(projector, self.head_norm),
        )

    def loss(self, net: "Siamese", first: "Tensor", second: "Tensor") -> "Tensor":
        """Return minus the mean cosine of predictions and projections (eq. 2 and 4)."""
        from mae_bench.kit.contrast import mean_cosine

        output1, output2 = net.project(first), net.project(second)
        forth, back = net.predict(output1), net.predict(output2)
        if self.stop_gradient:
            output1, output2 = output1.detach(), output2.detach()
        return -(mean_cosine(forth, output2) + mean_cosine(back, output1)) / 2

    def parameter_groups(self, module: "Siamese") -> "list[Group]":
        """Return a group of the predictor's own if its rate is fixed, also in warm-up."""
        if module.predictor is None or not self.fixed_predictor_lr:
            return super().parameter_groups(module)
        (others,) = super().parameter_groups(module.online)
        (own,) = super().parameter_groups(module.predictor)
        return [others, own | {"constant_lr": scaled_lr(self.lr_per_256, self.batch_size)}]
