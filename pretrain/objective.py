"""What training needs of an objective."""

from pathlib import Path
from typing import Protocol

from torch import Tensor

from mae_bench.kit.images import View
from mae_bench.kit.spec import EncoderSpec


class Objective(Protocol):
    """An nn.Module that turns a batch into a loss and keeps an encoder inside.

    Its forward takes uint8 images [batch, 3, side, side] and labels [batch], and returns the mean
    loss over these images. State that a resumed run must find again is a parameter or a buffer.

    What follows is needed; kit/offers.py lists what else the loop looks for, such as `noise`.
    """

    spec: EncoderSpec

    def view(self) -> View:
        """Return the augmentation of a training image."""
        ...

    def encoder_state(self) -> dict[str, Tensor]:
        """Return the encoder's tensors under their canonical names."""
        ...

    def finish(self, data: Path, out: Path) -> dict[str, float]:
        """Return the metrics, measured on the validation images; may leave figures in `out`."""
        ...
