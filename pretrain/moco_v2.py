"""MoCo v2 (Chen et al. 2020): tell a view's key from a queue of those of earlier batches."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from mae_bench.core.recipe import Resources, require
from mae_bench.kit.archs import ARCHS
from pretrain.siamese import SiameseRecipe

if TYPE_CHECKING:
    from torch import Tensor

    from pretrain.siamese_model import Siamese


@dataclass(frozen=True, kw_only=True)
class MoCoV2(SiameseRecipe):
    """MoCo v2, Chen et al. 2020 (arXiv 2003.04297), with MoCo's queue (arXiv 1911.05722).

    Each first view is told by the momentum encoder's projection of the second from 65,536 such
    projections of earlier batches. Batches are not shuffled over ranks, since neither a ViT nor
    this head has BatchNorm to leak through. The views are those of its code: crops from 0.2,
    stronger jitter of saturation, half of them blurred, none solarised. Defaults are those of
    ResNet-50: nobody published values for a Vision Transformer. The rate falls at every step, where
    the authors' code lowers it once an epoch. Their 200 epochs took 53 h on 8 V100
    (facebookresearch/moco, README).
    """

    name: ClassVar[str] = "moco_v2"
    resources: ClassVar[Resources] = Resources(gpus=8, hours=53.0, demo_seconds=240.0)
    published_archs: ClassVar[tuple[str, ...]] = ()

    epochs: int = 200
    warmup_epochs: int = 0
    batch_size: int = 256
    optimizer: Literal["adamw", "sgd"] = "sgd"
    lr_per_256: float = 0.03
    weight_decay: float = 1e-4
    crop_scale_min: float = 0.2
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    blur_probability: tuple[float, float] = (0.5, 0.5)
    solarize_probability: tuple[float, float] = (0.0, 0.0)
    temperature: float = 0.2
    """What cosines are divided by."""
    momentum: float = 0.999
    """Share of its own weights that the momentum encoder keeps in a step, at the start."""
    momentum_schedule: Literal["constant", "cosine"] = "constant"
    """Whether the momentum stays or rises to 1 by a half-cosine."""
    queue_size: int = 65536
    """Projections of earlier batches that are kept as negatives, a multiple of the batch."""
    hidden_width: int = 2048
    """Width of the projector's hidden layer."""
    output_width: int = 128
    """Width of what is compared."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "temperature", "> 0", self.temperature > 0)
        require(self, "momentum", "in [0, 1]", 0 <= self.momentum <= 1)
        fits = self.queue_size > 0 and self.queue_size % self.batch_size == 0
        require(self, "queue_size", f"a multiple of the batch of {self.batch_size}", fits)

    @classmethod
    def demo(cls) -> Self:
        """Return the size for two CPU cores, with the FLOPs of the four others like it.

        Images are smaller than in MAE's demo and epochs fewer. AdamW instead of SGD.
        """
        return dataclasses.replace(
            cls(),
            arch="vit_demo_patch8",
            image_size=48,
            epochs=18,
            warmup_epochs=1,
            batch_size=64,
            lr_per_256=4e-3,
            crop_scale_min=0.35,
            queue_size=1024,
            hidden_width=256,
            output_width=64,
            optimizer="adamw",
            momentum=0.97,
        )

    def head_sizes(self, width: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the widths from layer to layer of projector and predictor, empty for none."""
        return (width, self.hidden_width, self.output_width), ()

    def objective(self, data: Path) -> "Siamese":
        """Return the networks: two layers project, and there is no predictor."""
        from mae_bench.kit.contrast import Queue
        from mae_bench.kit.heads import mlp
        from pretrain.siamese_model import Siamese

        projector, _ = self.head_sizes(ARCHS[self.arch].width)
        return Siamese(
            self,
            projector=mlp(projector, norm="none"),
            momentum=(self.momentum, self.momentum_schedule),
            queue=Queue(self.queue_size, self.output_width),
        )

    def loss(self, net: "Siamese", first: "Tensor", second: "Tensor") -> "Tensor":
        """Return the cross entropy of telling each view's key from the queue (MoCo, eq. 1)."""
        from mae_bench.kit.contrast import queue_nce

        assert net.momentum is not None
        assert net.queue is not None
        queries, keys = net.project(first), net.momentum(second)
        net.queue.waiting = keys
        return queue_nce(queries, keys, net.queue.keys, self.temperature)

    def passes(self) -> tuple[int, int]:
        """Return the forward passes for an image: of trained and of following networks."""
        return 1, 1
