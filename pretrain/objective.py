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

    What follows is needed; the loop looks for these as well (kit/offers.py):

    - `noise(batch_size)`: what is drawn for a whole batch, on any device, a row for each image.
      Forward gets rows of it in place of labels, so that draws do not depend on how the batch is
      divided; the generators are seeded by (seed, step) before.
    - `num_crops`: how many crops of each image `view` gives; above 1 forward takes images
      [batch, crops, 3, side, side].
    - `chunk`: an int that the loop sets to the micro-batch. Forward then gets a rank's whole share
      of the batch in one call, and sees to it by itself that no more images' activations are kept:
      for losses that are not sums over images.
    - `micro_multiple`: what a micro-batch must be a multiple of.
    - `parts`: an int that the loop sets to the forward passes of a step.
    - `before_step()`: called when the gradients of the whole batch are there.
    - `after_step(progress)`: called after the step, for weights that follow others; `progress` is
      in (0, 1].
    - `signs()`: numbers to log beside the loss.
    - `training_flops`: FLOPs of forward and backward pass for an image, for the utilisation.
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
