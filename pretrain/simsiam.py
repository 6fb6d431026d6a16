"""SimSiam (Chen and He 2020): predict the other view's projection, which gradients do not reach."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from mae_bench.core.recipe import Resources
from mae_bench.kit.archs import ARCHS
from mae_bench.kit.work import mlp_parameters
from pretrain.siamese import SiameseRecipe

if TYPE_CHECKING:
    from torch import Tensor

    from pretrain.siamese_model import Siamese


@dataclass(frozen=True, kw_only=True)
class SimSiam(SiameseRecipe):
    """SimSiam, Chen and He 2020 (arXiv 2011.10566), sec. 3 and 4, with MoCo v2's views.

    Defaults are those of ResNet-50: nobody published values for a Vision Transformer.
    """

    name: ClassVar[str] = "simsiam"
    resources: ClassVar[Resources] = Resources(gpus=8, hours=24.0, demo_seconds=200.0)
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
    output_width: int = 2048
    """Width of the projector's layers, and of what is compared."""
    projector_norm: Literal["all", "hidden"] = "all"
    """Whether BatchNorm follows the projector's last layer too (Table 3)."""
    predictor_width: int = 512
    """Width of the predictor's hidden layer."""
    fixed_predictor_lr: bool = True
    """Whether the predictor's learning rate stays at the base rate (Table 1)."""
    stop_gradient: bool = True
    """Whether gradients stop at what is predicted; without that the outputs collapse (Fig. 2)."""

    @classmethod
    def demo(cls) -> Self:
        """Return the size for two CPU cores."""
        return dataclasses.replace(
            cls(),
            arch="vit_demo_patch8",
            image_size=64,
            epochs=12,
            warmup_epochs=1,
            batch_size=64,
            lr_per_256=0.05,
            output_width=128,
            predictor_width=32,
        )

    def objective(self, data: Path) -> "Siamese":
        """Return the networks: three layers project, a bottleneck of two predicts (sec. 3)."""
        from mae_bench.kit.heads import mlp
        from pretrain.siamese_model import Siamese

        out = self.output_width
        return Siamese(
            self,
            projector=mlp((ARCHS[self.arch].width, out, out, out), norm=self.projector_norm),
            predictor=mlp((out, self.predictor_width, out), norm="hidden"),
        )

    def loss(self, net: "Siamese", first: "Tensor", second: "Tensor") -> "Tensor":
        """Return minus the mean cosine of predictions and projections (eq. 2 and 4)."""
        from torch.nn.functional import cosine_similarity

        assert net.predictor is not None
        output1, output2 = net.project(first), net.project(second)
        forth, back = net.predictor(output1), net.predictor(output2)
        if self.stop_gradient:
            output1, output2 = output1.detach(), output2.detach()
        forth, back = cosine_similarity(forth, output2), cosine_similarity(back, output1)
        return -(forth.mean() + back.mean()) / 2

    def head_parameters(self, width: int) -> tuple[int, int]:
        """Return the weights of projector and predictor on an encoder of that width."""
        out = self.output_width
        return mlp_parameters((width, out, out, out)), mlp_parameters(
            (out, self.predictor_width, out)
        )
