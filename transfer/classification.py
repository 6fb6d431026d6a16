"""Fine-tuning and linear probing of an encoder on an ImageNet-style folder."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from mae_bench.core.files import record_facts
from mae_bench.core.recipe import Context
from mae_bench.kit.augment import Mixing, rand_augment, soft_cross_entropy
from mae_bench.kit.classifier import Classifier, Pool, top1_accuracy
from mae_bench.kit.datasets import Views, eval_batches
from mae_bench.kit.encoder import Encoder, load_exactly, read_encoder
from mae_bench.kit.facts import encoder_facts
from mae_bench.kit.images import eval_view, normalize, train_view
from mae_bench.kit.loop import train
from mae_bench.kit.machine import Machine, start
from mae_bench.kit.optim import LARS, layer_decay_groups
from mae_bench.kit.pos_embed import resize_pos_embed
from mae_bench.kit.randomness import seed_globals
from mae_bench.kit.samples import read_samples
from mae_bench.kit.training import epoch_training

if TYPE_CHECKING:
    from transfer.imagenet_finetune import ImagenetFinetune
    from transfer.imagenet_linear import ImagenetLinear


def finetune(recipe: "ImagenetFinetune", ctx: Context) -> dict[str, float]:
    """Train encoder and head together; return the top-1 accuracy of the last weights."""
    machine = start(ctx.out)
    encoder, data = _inputs(ctx)
    train_samples = read_samples(data, "train")
    seed_globals(ctx.seed, "init")
    model = classifier(
        encoder, len(train_samples.classes), recipe.image_size, "avg", recipe.drop_path
    )
    nn.init.trunc_normal_(model.head.weight, std=2e-5)
    nn.init.zeros_(model.head.bias)
    module = machine.take(FineTuning(recipe, model))
    optimizer = torch.optim.AdamW(
        layer_decay_groups(model, encoder.spec.depth, recipe.layer_decay, recipe.weight_decay),
        betas=(0.9, 0.999),
        fused=True,
    )
    side = recipe.image_size
    view = train_view(
        side, (recipe.crop_scale_min, 1.0), augment=rand_augment(recipe.rand_augment, side)
    )
    views = Views(train_samples, view, ctx.seed)
    module = train(module, optimizer, epoch_training(recipe, ctx, views, machine))
    return _score(ctx, encoder, module.model, side, machine)


def linear_probe(recipe: "ImagenetLinear", ctx: Context) -> dict[str, float]:
    """Train a linear layer on frozen features; return the top-1 accuracy of the last weights."""
    machine = start(ctx.out)
    encoder, data = _inputs(ctx)
    train_samples = read_samples(data, "train")
    seed_globals(ctx.seed, "init")
    module = machine.take(LinearProbe(encoder, len(train_samples.classes), recipe.image_size))
    optimizer = LARS(
        (p for p in module.parameters() if p.requires_grad),
        momentum=recipe.momentum,
        trust=recipe.trust,
    )
    view = train_view(recipe.image_size, (recipe.crop_scale_min, 1.0), tries=1)
    views = Views(train_samples, view, ctx.seed)
    module = train(module, optimizer, epoch_training(recipe, ctx, views, machine))
    return _score(ctx, encoder, module.model, recipe.image_size, machine)


def classifier(
    encoder: Encoder, num_classes: int, image_size: int, pool: Pool, drop_path: float = 0.0
) -> Classifier:
    """Return a classifier whose encoder is exactly the file's, positions resized to image_size.

    With `avg` the encoder's final norm is left out and a new fc_norm put in its place.
    """
    spec = dataclasses.replace(encoder.spec, image_size=image_size)
    model = Classifier(spec, num_classes, pool, drop_path)
    resized = resize_pos_embed(encoder.state["pos_embed"], (spec.grid, spec.grid))
    state = encoder.state | {"pos_embed": resized}
    if pool == "avg":
        load_exactly(model, state, new=("fc_norm.", "head."), dropped=("norm.",))
    else:
        load_exactly(model, state, new=("head.",))
    return model


class FineTuning(nn.Module):
    """The whole classifier under mixup, cutmix, erasing and label smoothing."""

    def __init__(self, recipe: "ImagenetFinetune", model: Classifier) -> None:
        super().__init__()
        self.model = model
        self.mixing = Mixing(
            model.head.out_features,
            recipe.mixup,
            recipe.cutmix,
            recipe.label_smoothing,
            recipe.erasing,
        )
        self.micro_multiple = self.mixing.multiple

    def forward(
        self, images: UInt8[Tensor, "batch 3 side side"], labels: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """Return the cross entropy against the mixed targets."""
        mixed, targets = self.mixing(normalize(images), labels)
        return soft_cross_entropy(self.model(mixed), targets)


class LinearProbe(nn.Module):
    """BatchNorm without affine parameters and a linear layer on the frozen cls token."""

    def __init__(self, encoder: Encoder, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.model = classifier(encoder, num_classes, image_size, "cls")
        self.model.requires_grad_(False)
        width = encoder.spec.width
        head = nn.Linear(width, num_classes)
        nn.init.trunc_normal_(head.weight, std=0.01)
        nn.init.zeros_(head.bias)
        self.model.head = nn.Sequential(nn.BatchNorm1d(width, affine=False, eps=1e-6), head)

    def forward(
        self, images: UInt8[Tensor, "batch 3 side side"], labels: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """Return the cross entropy; no gradient reaches the encoder."""
        with torch.no_grad():
            features = self.model.features(normalize(images))
        return nn.functional.cross_entropy(self.model.head(features).float(), labels)


def _inputs(ctx: Context) -> tuple[Encoder, Path]:
    """Return encoder and data folder, which every transfer job has."""
    assert ctx.encoder is not None
    assert ctx.data is not None
    return read_encoder(ctx.encoder), ctx.data


def _score(
    ctx: Context, encoder: Encoder, model: Classifier, side: int, machine: Machine
) -> dict[str, float]:
    """Return the top-1 accuracy on the validation images and record the encoder's facts.

    Only the first rank measures; the others return nothing.
    """
    if not machine.ranks.first:
        return {}
    assert ctx.data is not None
    record_facts(ctx.out, encoder=encoder_facts(encoder))
    views = Views(read_samples(ctx.data, "val"), eval_view(side), seed=0)
    return {"top1": top1_accuracy(model, eval_batches(views))}
