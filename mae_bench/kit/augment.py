"""The augmentations of supervised training, all timm's own parts."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from torch import Tensor

from mae_bench.kit.spec import IMAGENET_MEAN


def rand_augment(config: str, side: int) -> Callable[[Image.Image], Image.Image] | None:
    """Return RandAugment of timm's config string, such as rand-m9-mstd0.5-inc1; None if empty.

    It draws from the global generators, which are seeded per image.
    """
    if not config:
        return None
    fill = tuple(round(255 * value) for value in IMAGENET_MEAN)
    options = {"translate_const": int(side * 0.45), "img_mean": fill}
    transform: Callable[[Image.Image], Image.Image] = rand_augment_transform(config, options)
    return transform


class Mixing:
    """Turns labels into smoothed targets and mixes images, half of the batches each way."""

    def __init__(
        self, num_classes: int, mixup: float, cutmix: float, smoothing: float, erasing: float
    ) -> None:
        self.num_classes = num_classes
        self.smoothing = smoothing
        self.mix = None
        if mixup > 0 or cutmix > 0:
            self.mix = Mixup(
                mixup, cutmix, label_smoothing=smoothing, num_classes=num_classes, mode="batch"
            )
        self.erasing = erasing

    @property
    def multiple(self) -> int:
        """What the number of images must be a multiple of: mixing pairs them."""
        return 1 if self.mix is None else 2

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(
        self, images: Float[Tensor, "batch 3 side side"], labels: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch 3 side side"], Float[Tensor, "batch classes"]]:
        """Return images (erased, then mixed) and their soft targets.

        It is left out of compilation, which would draw other random numbers.
        """
        if self.erasing > 0:
            erase = RandomErasing(self.erasing, mode="pixel", device=images.device)
            images = erase(images)
        if self.mix is not None:
            if len(images) % 2:
                raise ValueError(
                    f"mixup and cutmix need an even micro-batch, got {len(images)} images; set "
                    "--micro-batch"
                )
            mixed: tuple[Tensor, Tensor] = self.mix(images, labels)
            return mixed
        return images, self._smoothed(labels)

    def _smoothed(self, labels: Int[Tensor, " batch"]) -> Float[Tensor, "batch classes"]:
        """Return one-hot targets with `smoothing` spread over all classes."""
        one_hot = torch.nn.functional.one_hot(labels, self.num_classes).float()
        return one_hot * (1 - self.smoothing) + self.smoothing / self.num_classes


def soft_cross_entropy(
    logits: Float[Tensor, "batch classes"], targets: Float[Tensor, "batch classes"]
) -> Float[Tensor, ""]:
    """Return the mean cross entropy against soft targets."""
    return -(targets * logits.float().log_softmax(dim=1)).sum(dim=1).mean()
