"""Linear probing: layers on frozen features, one for each learning rate, in one pass."""

import copy
import dataclasses
import logging
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.optim import Optimizer

from mae_bench.core.files import record_facts
from mae_bench.core.recipe import Context
from mae_bench.kit.batch_norm import RankBatchNorm
from mae_bench.kit.datasets import Views
from mae_bench.kit.encoder import Encoder
from mae_bench.kit.evaluation import predict
from mae_bench.kit.images import eval_view, normalize, train_view
from mae_bench.kit.loop import train
from mae_bench.kit.machine import Machine, start
from mae_bench.kit.optim import LARS, Group, sgd
from mae_bench.kit.randomness import seed_globals
from mae_bench.kit.samples import Samples
from mae_bench.kit.schedule import scaled_lr
from mae_bench.kit.subsets import held_out
from mae_bench.kit.training import Training, epoch_training
from transfer.classification import classifier, inputs, score

if TYPE_CHECKING:
    from transfer.imagenet_linear import ImagenetLinear

log = logging.getLogger(__name__)


def linear_probe(recipe: "ImagenetLinear", ctx: Context) -> dict[str, float]:
    """Train linear layers on frozen features; return the top-1 accuracy of the last weights.

    Of several learning rates the best is chosen on training images that were held out for that;
    the validation images are read once, with the chosen layer.
    """
    machine = start(ctx.out)
    encoder, samples = inputs(ctx, recipe.image_size, machine)
    trained, chosen_on = samples, None
    if len(recipe.lr_factors) > 1:
        trained, chosen_on = held_out(samples, recipe.held_out, ctx.seed)
    probe = trained_probe(recipe, ctx, machine, encoder, trained)
    best = 0 if chosen_on is None else _best(probe, chosen_on, recipe, ctx, machine)
    predictions = score(probe.of(best), ctx, machine)
    return {"top1": predictions.accuracy()} if machine.ranks.first else {}


def trained_probe(
    recipe: "ImagenetLinear", ctx: Context, machine: Machine, encoder: Encoder, samples: Samples
) -> "LinearProbe":
    """Return layers trained on the samples in ctx.out, one for each learning rate."""
    seed_globals(ctx.seed, "init")
    norm: Literal["batch", "none"] = "batch" if recipe.batch_norm else "none"
    layers = LinearProbe(encoder, len(samples.classes), len(recipe.lr_factors), norm)
    probe = machine.take(layers)
    probe.keep_apart()
    groups = [
        {"params": list(layer.parameters()), "lr_scale": factor}
        for layer, factor in zip(probe.layers, recipe.lr_factors, strict=True)
    ]
    view = train_view(recipe.image_size, (recipe.crop_scale_min, 1.0), tries=recipe.crop_tries)
    training = epoch_training(recipe, ctx, Views(samples, view, ctx.seed), machine)
    if recipe.lr_changes == "epoch":
        training = held_for_epochs(training)
    return train(probe, make_optimizer(recipe, groups), training)


def make_optimizer(recipe: "ImagenetLinear", groups: list[Group]) -> Optimizer:
    """Return LARS or SGD with the recipe's momentum, neither with weight decay."""
    if recipe.optimizer == "sgd":
        return sgd(groups, recipe.momentum)
    return LARS(groups, momentum=recipe.momentum, trust=recipe.trust)


def held_for_epochs(training: Training) -> Training:
    """Return the training with the learning rate that each epoch begins with until its end."""
    lr_at = training.lr_at
    return dataclasses.replace(training, lr_at=lambda epoch: lr_at(float(math.floor(epoch))))


class LinearProbe(nn.Module):
    """Linear layers, all started alike, on the frozen pooled token, after one BatchNorm if any.

    Several layers share features and BatchNorm, and nothing else: each is trained as if alone.
    The paper's batch is divided over many GPUs, so the BatchNorm counts the rows of all ranks.
    """

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        num_layers: int = 1,
        norm: Literal["batch", "none"] = "batch",
    ) -> None:
        super().__init__()
        self.model = classifier(encoder, num_classes, "cls").requires_grad_(False)
        width = encoder.spec.width
        self.norm: nn.Module = nn.Identity()
        if norm == "batch":
            self.norm = RankBatchNorm(width, affine=False, eps=1e-6)
        layer = nn.Linear(width, num_classes)
        # Cut off at 2, 200 deviations away: the plain normal that MoCo v3 starts with, too.
        nn.init.trunc_normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
        self.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(num_layers))
        self.finite: Tensor | None = None
        """Which layers' losses count in this step."""
        self.extract: Callable[[Tensor], Tensor] = self.model.features
        self.parts = 1
        """Forward passes of one step; the layers see the features of all of them at once."""
        self.waiting: list[tuple[Tensor, Tensor]] = []

    def forward(
        self, images: UInt8[Tensor, "batch 3 side side"], labels: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """Return the cross entropy of the whole step in its last part, and 0 in those before.

        It is the sum over the layers, and times `parts`, over which the caller averages. A layer
        whose loss is not finite is left out, so that it cannot stop the others.
        """
        found = self.features(images)
        self.waiting.append((found, labels))
        if len(self.waiting) < self.parts:
            return found.new_zeros((), requires_grad=True)
        features, targets = (torch.cat(part) for part in zip(*self.waiting, strict=True))
        self.waiting = []
        normed = self.norm(features)
        losses = torch.stack(
            [nn.functional.cross_entropy(layer(normed).float(), targets) for layer in self.layers]
        )
        finite = losses.detach().isfinite()
        self.finite = finite | ~finite.any()
        return torch.where(self.finite, losses, 0.0).sum() * self.parts

    def keep_apart(self) -> None:
        """Give a layer whose loss is left out no gradient: it would be NaN, which stops all."""
        for index, layer in enumerate(self.layers):
            for parameter in layer.parameters():
                parameter.register_hook(partial(self._gradient, index))

    def _gradient(self, index: int, gradient: Tensor) -> Tensor:
        """Return a layer's gradient, or zeros where its loss is left out."""
        return gradient if self.finite is None else torch.where(self.finite[index], gradient, 0.0)

    @torch.no_grad()
    def features(self, images: UInt8[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch width"]:
        """Return the frozen features."""
        self.model.eval()
        return self.extract(normalize(images, *self.model.spec.pixels)).float()

    def compile(self, *words: Any, **settings: Any) -> None:
        """Compile the encoder alone: the rest keeps features from one call to the next."""
        self.extract = torch.compile(self.model.features, *words, **settings)

    def of(self, index: int) -> nn.Module:
        """Return the classifier that one of the layers makes."""
        self.model.head = nn.Sequential(self.norm, self.layers[index])
        return self.model


def _best(
    probe: LinearProbe,
    samples: Samples,
    recipe: "ImagenetLinear",
    ctx: Context,
    machine: Machine,
) -> int:
    """Return the layer that does best on the samples; record how each does."""
    views = Views(samples, eval_view(recipe.image_size), seed=0)
    found = []
    for index, layer in enumerate(probe.layers):
        predictions = predict(probe.of(index), views, machine.evaluators, unreadable="replace")
        diverged = not all(parameter.isfinite().all() for parameter in layer.parameters())
        found.append(0.0 if diverged else predictions.accuracy())
    best = machine.ranks.share(max(range(len(found)), key=found.__getitem__))
    base = scaled_lr(recipe.lr_per_256, recipe.batch_size)
    rates = [base * factor for factor in recipe.lr_factors]
    log.info("learning rate %g: %.2f %% of held-out images", rates[best], found[best])
    if machine.ranks.first:
        record_facts(ctx.out, lr={"chosen": rates[best], "tried": rates, "held_out_top1": found})
    return best
