"""The fields of every recipe that trains for epochs by a warm-up and a cosine, and their ranges.

Loads without torch, so that recipes can check fields.
"""

from typing import Protocol, runtime_checkable

from mae_bench.core.recipe import Recipe, require


@runtime_checkable
class EpochFields(Recipe, Protocol):
    """What a recipe must have to be trained by `epoch_training`."""

    @property
    def image_size(self) -> int: ...  # noqa: D102
    @property
    def epochs(self) -> int: ...  # noqa: D102 - each is described in the recipes
    @property
    def warmup_epochs(self) -> int: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def lr_per_256(self) -> float: ...  # noqa: D102
    @property
    def min_lr(self) -> float: ...  # noqa: D102


def check_epoch_fields(recipe: EpochFields) -> None:
    """Raise ValueError naming the first of the fields that is out of its range."""
    require(recipe, "epochs", ">= 1", recipe.epochs >= 1)
    fits = 0 <= recipe.warmup_epochs < recipe.epochs
    require(recipe, "warmup_epochs", f"in [0, epochs = {recipe.epochs})", fits)
    require(recipe, "batch_size", ">= 1", recipe.batch_size >= 1)
    require(recipe, "lr_per_256", "> 0", recipe.lr_per_256 > 0)
    require(recipe, "min_lr", ">= 0", recipe.min_lr >= 0)
