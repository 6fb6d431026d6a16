"""What all pretraining objectives share: the common fields, their checks and the run."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from mae_bench.core.recipe import Context, Metric, Resources, require, unknown
from mae_bench.kit.archs import ARCHS
from mae_bench.kit.epochs import check_epoch_fields

if TYPE_CHECKING:
    from pathlib import Path

    from torch.nn import Module
    from torch.optim import Optimizer

    from pretrain.objective import Objective


@dataclass(frozen=True, kw_only=True)
class PretrainRecipe:
    """Common fields of an objective; subclasses give `name`, defaults and `objective`."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    dataset: ClassVar[str] = "imagenet"
    after: ClassVar[str] = ""
    metrics: ClassVar[tuple[Metric, ...]]
    resources: ClassVar[Resources]

    arch: str = "vit_large_patch16"
    """Encoder size, one of `mae-bench list`."""
    image_size: int = 224
    """Side of the training images in pixels."""
    epochs: int
    """Passes over the training images, warm-up included."""
    warmup_epochs: int
    """Epochs of linear warm-up from a learning rate of exactly 0."""
    batch_size: int = 4096
    """Images per optimiser step over all devices and accumulation steps."""
    lr_per_256: float
    """Base learning rate; multiplied by batch_size / 256."""
    min_lr: float = 0.0
    """Learning rate at the end of the half-cosine."""
    weight_decay: float
    """AdamW weight decay of tensors with two or more dimensions."""
    beta2: float = 0.95
    """AdamW's second beta; the first is 0.9."""

    def __post_init__(self) -> None:
        if self.arch not in ARCHS:
            raise ValueError(unknown("arch", self.arch, ARCHS))
        patch_size = ARCHS[self.arch].patch_size
        require(
            self,
            "image_size",
            f"a positive multiple of the patch size {patch_size}",
            self.image_size > 0 and self.image_size % patch_size == 0,
        )
        check_epoch_fields(self)
        require(self, "weight_decay", ">= 0", self.weight_decay >= 0)
        require(self, "beta2", "in (0, 1)", 0 < self.beta2 < 1)

    @classmethod
    def published(cls, arch: str, origin: str) -> Self:
        """Return the paper's values for that size; `origin` is for transfer and not used."""
        return dataclasses.replace(cls(), arch=arch)  # type: ignore[call-arg]

    def objective(self, data: "Path") -> "Objective":
        """Return the module to train, freshly initialised from the global generators."""
        raise TypeError(f"{type(self).__name__} has no objective")

    def make_optimizer(self, objective: "Module") -> "Optimizer":
        """Return AdamW, which decays tensors of two or more dimensions."""
        from mae_bench.kit.optim import adamw, decay_groups

        return adamw(decay_groups(objective, self.weight_decay), self.beta2)

    def run(self, ctx: Context) -> dict[str, float]:
        """Return the metrics after training; leaves encoder.safetensors in `ctx.out`."""
        from pretrain.training import pretrain

        return pretrain(self, ctx)
