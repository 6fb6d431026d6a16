"""SimCLR (Chen et al. 2020): tell the other view of an image from all views of the batch."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from mae_bench.core.recipe import Resources, require
from mae_bench.kit.archs import ARCHS, PAPER_ARCHS
from pretrain.siamese import SiameseRecipe

if TYPE_CHECKING:
    from torch import Tensor

    from pretrain.siamese_model import Siamese


@dataclass(frozen=True, kw_only=True)
class SimCLR(SiameseRecipe):
    """SimCLR, Chen et al. 2020 (arXiv 2002.05709), on a ViT as Chen et al. 2021 train it.

    Each view is told from all other views of the batch by the other view of its image. Defaults are
    the 300 epochs of ViT-B in MoCo v3's Table 4 (arXiv 2104.02057), views included, with the rate
    and the decay of its Fig. 6 and SimCLR's own temperature. SimCLR's own views, for a ResNet-50,
    have jitter 0.8, 0.8, 0.8, 0.2, blur with probability 0.5 in both and no solarisation. BatchNorm
    sees one view at a time, as in MoCo v3; SimCLR's own code gives it both at once (app. A).
    """

    name: ClassVar[str] = "simclr"
    resources: ClassVar[Resources] = Resources(gpus=64, hours=48.0, demo_seconds=240.0)
    published_archs: ClassVar[tuple[str, ...]] = PAPER_ARCHS[:1]

    epochs: int = 300
    warmup_epochs: int = 40
    lr_per_256: float = 2e-4
    weight_decay: float = 0.1
    freeze_patch_embed: bool = True
    temperature: float = 0.1
    """What cosines are divided by."""
    hidden_width: int = 4096
    """Width of the projector's hidden layers."""
    output_width: int = 256
    """Width of what is compared."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "temperature", "> 0", self.temperature > 0)

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
            epochs=12,
            warmup_epochs=1,
            batch_size=64,
            lr_per_256=4e-3,
            freeze_patch_embed=False,
            crop_scale_min=0.35,
            hidden_width=256,
            output_width=64,
        )

    @classmethod
    def lite(cls, arch: str, origin: str) -> Self:
        """Return the 100 epochs of MoCo v3's Fig. 6."""
        return dataclasses.replace(cls.published(arch, origin), epochs=100)

    def head_sizes(self, width: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the widths from layer to layer of projector and predictor, empty for none."""
        return (width, self.hidden_width, self.hidden_width, self.output_width), ()

    def objective(self, data: Path) -> "Siamese":
        """Return the networks: a projector with BatchNorm after every layer."""
        from mae_bench.kit.heads import mlp
        from pretrain.siamese_model import Siamese

        projector, _ = self.head_sizes(ARCHS[self.arch].width)
        return Siamese(self, projector=mlp(projector, norm="all"))

    def loss(self, net: "Siamese", first: "Tensor", second: "Tensor") -> "Tensor":
        """Return the cross entropy of telling views apart, over both views (eq. 1)."""
        from mae_bench.kit.contrast import nt_xent

        return nt_xent(net.project(first), net.project(second), self.temperature)
