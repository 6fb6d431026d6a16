"""What siamese objectives share: the fields of two views and of training; see siamese_model.py.

Their networks see two crops of each image, and each objective says how the outputs of the two
are compared. A loss over the whole batch cannot be summed up from micro-batches, so the networks
take the whole batch at once and compute an encoder's pass again for its gradient, micro-batch by
micro-batch: the result does not depend on how the batch is divided.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from mae_bench.core.recipe import Metric, require
from mae_bench.kit.archs import ARCHS, Arch
from mae_bench.kit.work import (
    FLOAT_BYTES,
    Work,
    encoder_multiply_adds,
    encoder_parameters,
    mlp_parameters,
)
from pretrain.recipe import PretrainRecipe

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer

    from mae_bench.kit.optim import Group
    from pretrain.siamese_model import Siamese


@dataclass(frozen=True, kw_only=True)
class SiameseRecipe(PretrainRecipe):
    """Fields of an objective on two views; subclasses give defaults, `objective` and `loss`.

    The default views are those of BYOL (Grill et al. 2020, arXiv 2006.07733, Table 6), as MoCo v3
    and its runs of other objectives have them: a random crop resized bicubically (by the code of
    MoCo v2, v3 and SimSiam bilinearly) and flipped with probability 0.5 in the loader; then, on the
    device, jitter in a random order of its four changes, grey, blur and solarisation from level 128
    on, each as kit/colour.py says.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("output_std", "std of outputs", unit="", digits=3),
        Metric("effective_rank", "effective rank", unit="", digits=1),
    )
    published_origins: ClassVar[tuple[str, ...]] = ()

    arch: str = "vit_base_patch16"
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """SGD has momentum 0.9; `beta2` is AdamW's."""
    beta2: float = 0.999
    """AdamW's second beta; the first is 0.9."""
    weight_decay: float
    """Weight decay of all tensors, biases and norms included, as in the authors' code."""
    freeze_patch_embed: bool = False
    """Whether the patch embedding stays as initialised (MoCo v3, sec. 4.2: stable training)."""
    crop_scale_min: float = 0.08
    """Smallest share of the image's area that a random crop takes, in (0, 1]."""
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)
    """Greatest change of brightness, contrast, saturation (factors 1 +- x), hue (turns, +- x)."""
    jitter_probability: float = 0.8
    """Share of the views whose colours are jittered, in [0, 1]."""
    grey_probability: float = 0.2
    """Share of the views that are made grey, in [0, 1]."""
    blur_probability: tuple[float, float] = (1.0, 0.1)
    """Share of the first and of the second views that are blurred, in [0, 1]."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Lowest and highest deviation of the blur, in pixels of a 224-pixel image; images of
    another size are blurred in proportion."""
    solarize_probability: tuple[float, float] = (0.0, 0.2)
    """Share of the first and of the second views that are solarised, in [0, 1]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = ">= 2, since a loss or a BatchNorm compares images"
        require(self, "batch_size", allowed, self.batch_size >= 2)
        for field in dataclasses.fields(self):
            if field.name.endswith("_width"):
                require(self, field.name, ">= 1", getattr(self, field.name) >= 1)
        require(self, "crop_scale_min", "in (0, 1]", 0 < self.crop_scale_min <= 1)
        fits = all(value >= 0 for value in self.jitter) and self.jitter[3] <= 0.5
        require(self, "jitter", ">= 0, hue <= 0.5", fits)
        for name in ("jitter_probability", "grey_probability"):
            require(self, name, "in [0, 1]", 0 <= getattr(self, name) <= 1)
        for name in ("blur_probability", "solarize_probability"):
            fits = all(0 <= value <= 1 for value in getattr(self, name))
            require(self, name, "in [0, 1]", fits)
        fits = 0 < self.blur_sigma[0] <= self.blur_sigma[1]
        require(self, "blur_sigma", "> 0, the lowest first", fits)

    @property
    def method(self) -> str:
        """The ledger's word for such an encoder, where it tells more than the recipe's name."""
        if self.freeze_patch_embed == type(self)().freeze_patch_embed:
            return ""
        kind = "frozen" if self.freeze_patch_embed else "learned"
        return f"{self.name},_{kind}_patch_embedding"

    def loss(self, net: "Siamese", first: "Tensor", second: "Tensor") -> "Tensor":
        """Return the mean loss of this rank's images, given two views of each.

        Views are uint8 [batch, 3, side, side]. The mean over ranks is the loss of the whole batch.
        """
        raise TypeError(f"{type(self).__name__} has no loss")

    def make_optimizer(self, objective: "Module") -> "Optimizer":
        """Return AdamW or SGD over the parameter groups."""
        from mae_bench.kit.optim import adamw, sgd

        groups = self.parameter_groups(objective)
        return adamw(groups, self.beta2) if self.optimizer == "adamw" else sgd(groups)

    def parameter_groups(self, module: "Module") -> "list[Group]":
        """Return one group of all tensors of the module that are trained, each decayed alike."""
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        return [{"params": trained, "weight_decay": self.weight_decay}]

    def head_sizes(self, width: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the widths from layer to layer of projector and predictor, empty for none."""
        raise TypeError(f"{type(self).__name__} has no heads")

    def passes(self) -> tuple[int, int]:
        """Return the forward passes for an image: of trained and of following networks."""
        return 2, 0

    @property
    def training_flops(self) -> int:
        """The FLOPs of a step for one image, a multiply-add being two and backward two forwards.

        What is computed again to save memory does not count.
        """
        arch, (trained, followed) = ARCHS[self.arch], self.passes()
        projector, predictor = map(mlp_parameters, self.head_sizes(arch.width))
        forward = encoder_multiply_adds(arch, self.image_size) + projector
        return int(2 * (3 * trained * (forward + predictor) + followed * forward))

    def work(self, arch: Arch, data: Mapping[str, int]) -> Work:
        """Return the work of all epochs and of the look at the outputs."""
        projector, predictor = map(mlp_parameters, self.head_sizes(arch.width))
        forward = encoder_multiply_adds(arch, self.image_size) + projector
        encoder = encoder_parameters(arch, self.image_size)
        images = self.epochs * data["images"]
        return Work(
            flops=float(images * self.training_flops + 2 * data["val_images"] * forward),
            trained=encoder + projector + predictor,
            frozen=encoder + projector if self.passes()[1] else 0,
            left_bytes=float(FLOAT_BYTES * encoder),
        )
