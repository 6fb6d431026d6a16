"""A classifier trained from scratch whose encoder is kept."""

from pathlib import Path
from typing import TYPE_CHECKING

from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from mae_bench.kit.augment import Mixing, rand_augment, soft_cross_entropy
from mae_bench.kit.classifier import Classifier
from mae_bench.kit.datasets import Views
from mae_bench.kit.encoder import encoder_shapes
from mae_bench.kit.evaluation import PREDICTIONS, predict
from mae_bench.kit.images import View, eval_view, normalize, train_view
from mae_bench.kit.momentum import follow, follower
from mae_bench.kit.samples import read_samples
from mae_bench.kit.spec import named_spec
from mae_bench.kit.vit import init_weights

if TYPE_CHECKING:
    from pretrain.supervised import Supervised


class SupervisedObjective(nn.Module):
    """Cross entropy on mixed images; the averaged weights are what is evaluated and kept."""

    def __init__(self, recipe: "Supervised", num_classes: int) -> None:
        super().__init__()
        self.recipe = recipe
        self.spec = named_spec(recipe.arch, recipe.image_size, origin=recipe.name)
        self.model = Classifier(self.spec, num_classes, "cls", recipe.drop_path)
        init_weights(self.model)
        self.average = follower(self.model) if recipe.ema_decay else None
        self.mixing = Mixing(
            num_classes, recipe.mixup, recipe.cutmix, recipe.label_smoothing, erasing=0.0
        )
        self.micro_multiple = self.mixing.multiple

    def view(self) -> View:
        """Return random crop, flip and RandAugment."""
        side = self.recipe.image_size
        scale = (self.recipe.crop_scale_min, 1.0)
        return train_view(side, scale, augment=rand_augment(self.recipe.rand_augment, side))

    def forward(
        self, images: UInt8[Tensor, "batch 3 side side"], labels: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """Return the cross entropy against the mixed, smoothed targets."""
        mixed, targets = self.mixing(normalize(images), labels)
        return soft_cross_entropy(self.model(mixed), targets)

    def after_step(self, progress: float) -> None:
        """Move the averaged weights towards the trained ones."""
        if self.average is not None:
            follow(self.average, self.model, self.recipe.ema_decay)

    def encoder_state(self) -> dict[str, Tensor]:
        """Return the kept model's encoder without its head."""
        names = encoder_shapes(self.spec)
        return {n: t for n, t in self._kept().state_dict().items() if n in names}

    def finish(self, data: Path, out: Path) -> dict[str, float]:
        """Return the top-1 accuracy of the kept model on the validation images."""
        views = Views(read_samples(data, "val"), eval_view(self.recipe.image_size), seed=0)
        predictions = predict(self._kept(), views)
        predictions.write(out / PREDICTIONS)
        return {"top1": predictions.accuracy()}

    def _kept(self) -> Classifier:
        """Return the averaged model, or the trained one where nothing is averaged."""
        return self.model if self.average is None else self.average
