"""MoCo v3 (Chen, Xie and He 2021): predict which view of the batch a momentum encoder saw."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from mae_bench.core.recipe import Resources, require
from mae_bench.kit.archs import ARCHS, PAPER_ARCHS
from mae_bench.kit.work import mlp_parameters
from pretrain.siamese import SiameseRecipe

if TYPE_CHECKING:
    from torch import Tensor

    from pretrain.siamese_model import Siamese


@dataclass(frozen=True, kw_only=True)
class MoCoV3(SiameseRecipe):
    """MoCo v3 on Vision Transformers, Chen et al. 2021 (arXiv 2104.02057), sec. 4 and 5.

    Each view's prediction is told from the batch by the momentum encoder's projection of the other
    view. Defaults are the 300 epochs of ViT-B in Table 4, with a frozen random patch embedding.
    """

    name: ClassVar[str] = "moco_v3"
    resources: ClassVar[Resources] = Resources(gpus=64, hours=48.0, demo_seconds=200.0)
    published_archs: ClassVar[tuple[str, ...]] = ("vit_small_patch16", *PAPER_ARCHS[:2])

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
        """Return the size for two CPU cores."""
        return dataclasses.replace(
            cls(),
            arch="vit_demo_patch8",
            image_size=64,
            epochs=12,
            warmup_epochs=1,
            batch_size=64,
            lr_per_256=4e-3,
            hidden_width=256,
            output_width=64,
        )

    def objective(self, data: Path) -> "Siamese":
        """Return the networks: BatchNorm after every layer of the heads (sec. 4)."""
        from mae_bench.kit.heads import mlp
        from pretrain.siamese_model import Siamese

        width, hidden, out = ARCHS[self.arch].width, self.hidden_width, self.output_width
        return Siamese(
            self,
            projector=mlp((width, hidden, hidden, out), norm="all"),
            predictor=mlp((out, hidden, out), norm="all"),
            momentum=(self.momentum, self.momentum_schedule),
        )

    def loss(self, net: "Siamese", first: "Tensor", second: "Tensor") -> "Tensor":
        """Return InfoNCE of both directions, times 2 x temperature (Algorithm 1)."""
        from mae_bench.kit.contrast import info_nce

        assert net.predictor is not None
        assert net.momentum is not None
        query1, query2 = net.predictor(net.project(first)), net.predictor(net.project(second))
        key1, key2 = net.momentum(first), net.momentum(second)
        forth = info_nce(query1, key2, self.temperature)
        back = info_nce(query2, key1, self.temperature)
        return 2 * self.temperature * (forth + back)

    def head_parameters(self, width: int) -> tuple[int, int]:
        """Return the weights of projector and predictor on an encoder of that width."""
        hidden, out = self.hidden_width, self.output_width
        return mlp_parameters((width, hidden, hidden, out)), mlp_parameters((out, hidden, out))

    def passes(self) -> tuple[int, int]:
        """Return the forward passes for an image: of trained and of following networks."""
        return 2, 2
