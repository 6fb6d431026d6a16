"""MoCo v3 (Chen, Xie and He 2021): predict which view of the batch a momentum encoder saw."""

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
class MoCoV3(SiameseRecipe):
    """MoCo v3 on Vision Transformers, Chen et al. 2021 (arXiv 2104.02057), sec. 4 and 5.

    Each view's prediction is told from the batch by the momentum encoder's projection of the other
    view. Defaults are the 300 epochs of ViT-B, L and H in Table 1, with a frozen random patch
    embedding; the paper's small model has 12 heads and is none of the sizes here. On 256 TPUs v3 a
    hundred epochs took 2.1 h for ViT-B and 6.1 h for L, on 512 9.8 h for H (Table 3).
    """

    name: ClassVar[str] = "moco_v3"
    resources: ClassVar[Resources] = Resources(gpus=64, hours=48.0, demo_seconds=240.0)
    published_archs: ClassVar[tuple[str, ...]] = PAPER_ARCHS

    epochs: int = 300
    warmup_epochs: int = 40
    lr_per_256: float = 1.5e-4
    weight_decay: float = 0.1
    freeze_patch_embed: bool = True
    temperature: float = 0.2
    """What cosines are divided by."""
    momentum: float = 0.99
    """Share of its own weights that the momentum encoder keeps in a step, at the start."""
    momentum_schedule: Literal["constant", "cosine"] = "cosine"
    """Whether the momentum stays or rises to 1 by a half-cosine."""
    predictor: bool = True
    """Whether a predictor stands behind the projector (sec. 6.2: 76.5 with, 75.5 without)."""
    head_norm: Literal["none", "hidden", "all"] = "all"
    """Layers of the heads that BatchNorm follows (sec. 6.2: 76.5 with it, 74.4 without)."""
    hidden_width: int = 4096
    """Width of the hidden layers of projector and predictor."""
    output_width: int = 256
    """Width of what is compared."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "temperature", "> 0", self.temperature > 0)
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
        """Return the paper's 100 epochs: 73.4 linear for ViT-B, 76.5 after 300 (sec. 4.2, 6.2)."""
        return dataclasses.replace(cls.published(arch, origin), epochs=100)

    def head_sizes(self, width: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the widths from layer to layer of projector and predictor, empty for none."""
        hidden, out = self.hidden_width, self.output_width
        predictor = (out, hidden, out) if self.predictor else ()
        return (width, hidden, hidden, out), predictor

    def objective(self, data: Path) -> "Siamese":
        """Return the networks: three layers project, two predict (sec. 5)."""
        from mae_bench.kit.heads import mlp
        from pretrain.siamese_model import Siamese

        projector, predictor = self.head_sizes(ARCHS[self.arch].width)
        return Siamese(
            self,
            predictor=mlp(predictor, self.head_norm) if predictor else None,
            projector=mlp(projector, self.head_norm),
            momentum=(self.momentum, self.momentum_schedule),
        )

    def loss(self, net: "Siamese", first: "Tensor", second: "Tensor") -> "Tensor":
        """Return InfoNCE of both directions, times 2 x temperature (Algorithm 1)."""
        from mae_bench.kit.contrast import info_nce

        assert net.momentum is not None
        query1, query2 = net.predict(net.project(first)), net.predict(net.project(second))
        key1, key2 = net.momentum(first), net.momentum(second)
        forth = info_nce(query1, key2, self.temperature)
        back = info_nce(query2, key1, self.temperature)
        return 2 * self.temperature * (forth + back)

    def passes(self) -> tuple[int, int]:
        """Return the forward passes for an image: of trained and of following networks."""
        return 2, 2
