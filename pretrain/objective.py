"""What training needs of an objective."""

from pathlib import Path
from typing import Protocol

from torch import Tensor

from mae_bench.kit.images import View
from mae_bench.kit.spec import EncoderSpec


class Objective(Protocol):
    """An nn.Module that turns a batch into a loss and keeps an encoder inside.

    Its forward takes uint8 images [batch, 3, side, side] and labels [batch], and returns the loss.
    One that has `noise(batch_size)` gets noise [batch, ...] instead of labels: what it draws for a
    whole batch, so that the result does not depend on how the batch is divided. What else it
    may have is listed in kit/offers.py.
    """

    spec: EncoderSpec

    def view(self) -> View:
        """Return the augmentation of a training image."""
        ...

    def encoder_state(self) -> dict[str, Tensor]:
        """Return the encoder's tensors under their canonical names."""
        ...

    def after_step(self, progress: float) -> None:
        """Update what follows the weights; `progress` is in (0, 1]."""
        ...

    def finish(self, data: Path, out: Path) -> dict[str, float]:
        """Return the metrics, measured on the validation images; may leave figures in `out`."""
        ...
