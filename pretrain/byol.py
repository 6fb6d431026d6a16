"""BYOL (Grill et al. 2020): predict what a momentum encoder makes of the other view."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from mae_bench.core.recipe import Resources, require
from mae_bench.kit.archs import ARCHS, PAPER_ARCHS
from pretrain.siamese import SiameseRecipe

if TYPE_CHECKING:
    from torch import Tensor

    from pretrain.siamese_model import Siamese


@dataclass(frozen=True, kw_only=True)
class BYOL(SiameseRecipe):
    """BYOL, Grill et al. 2020 (arXiv 2006.07733), on a ViT as Chen et al. 2021 train it.

    Each view's prediction is drawn to the momentum encoder's projection of the other; there are no
    negatives. Defaults are the 300 epochs of ViT-B in MoCo v3's Table 4 (arXiv 2104.02057), with
    the rate and the decay of its Fig. 6 and BYOL's own momentum for 300 epochs.
    """

    name: ClassVar[str] = "byol"
    resources: ClassVar[Resources] = Resources(gpus=64, hours=48.0, demo_seconds=240.0)
    published_archs: ClassVar[tuple[str, ...]] = PAPER_ARCHS[:1]

    epochs: int = 300
    warmup_epochs: int = 40
    lr_per_256: float = 1e-4
    weight_decay: float = 0.03
    freeze_patch_embed: bool = True
    momentum: float = 0.99
    """Share of its own weights that the momentum encoder keeps in a step, at the start."""
    momentum_schedule: Literal["constant", "cosine"] = "cosine"
    """Whether the momentum stays or rises to 1 by a half-cosine."""
    predictor: bool = True
    """Whether a predictor stands behind the projector; without one the outputs collapse."""
    hidden_width: int = 4096
    """Width of the hidden layers of projector and predictor."""
    output_width: int = 256
    """Width of what is compared."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "momentum", "in [0, 1]", 0 <= self.momentum <= 1)

    @classmethod
    def demo(cls) -> Self:
        """Return the size for two CPU cores, with the FLOPs of the four others like it.

        Images are smaller than in MAE's demo and epochs fewer. The patch embedding is trained:
        frozen, 192 numbers of a patch would become 128 for good.
        """
        return dataclasses.replace(
            cls(),
            arch="vit_demo_patch8",
            image_size=48,
            epochs=9,
            warmup_epochs=1,
            batch_size=64,
            lr_per_256=4e-3,
            freeze_patch_embed=False,
            crop_scale_min=0.35,
            hidden_width=256,
            output_width=64,
            momentum=0.95,
        )

    @classmethod
    def lite(cls, arch: str, origin: str) -> Self:
        """Return the 100 epochs of MoCo v3's Fig. 6."""
        return dataclasses.replace(cls.published(arch, origin), epochs=100)

    def head_sizes(self, width: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the widths from layer to layer of projector and predictor, empty for none."""
        hidden, out = self.hidden_width, self.output_width
        predictor = (out, hidden, out) if self.predictor else ()
        return (width, hidden, hidden, out), predictor

    def objective(self, data: Path) -> "Siamese":
        """Return the networks: BatchNorm within the heads, none at their ends (sec. 3.2).

        Three layers project, where BYOL's ResNet has two (MoCo v3, sec. 5 and app. A).
        """
        from mae_bench.kit.heads import mlp
        from pretrain.siamese_model import Siamese

        projector, predictor = self.head_sizes(ARCHS[self.arch].width)
        return Siamese(
            self,
            predictor=mlp(predictor, "hidden", "unbiased") if predictor else None,
            projector=mlp(projector, "hidden", "unbiased"),
            momentum=(self.momentum, self.momentum_schedule),
        )

    def loss(self, net: "Siamese", first: "Tensor", second: "Tensor") -> "Tensor":
        """Return 2 - 2 x cosine of prediction and target, of both directions (eq. 2)."""
        from mae_bench.kit.contrast import mean_cosine

        assert net.momentum is not None
        guess1, guess2 = net.predict(net.project(first)), net.predict(net.project(second))
        target1, target2 = net.momentum(first), net.momentum(second)
        return 4 - 2 * (mean_cosine(guess1, target2) + mean_cosine(guess2, target1))

    def passes(self) -> tuple[int, int]:
        """Return the forward passes for an image: of trained and of following networks."""
        return 2, 2
