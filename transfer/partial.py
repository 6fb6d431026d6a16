"""Partial fine-tuning: one training for each number of last blocks, the rest frozen."""

import dataclasses
import json
import logging
from typing import TYPE_CHECKING, Any

from torch import nn

from mae_bench.core.files import FACTS, append_metrics, record_facts, write_json
from mae_bench.core.recipe import Context, fields_of
from mae_bench.kit.classifier import Classifier
from mae_bench.kit.encoder import Encoder
from mae_bench.kit.machine import Machine, start
from mae_bench.kit.samples import Samples
from transfer.classification import FineTuning, inputs, score, trained, untrained
from transfer.imagenet_partial import metric_name
from transfer.partial_figure import draw_partial

if TYPE_CHECKING:
    from transfer.imagenet_partial import ImagenetPartial

log = logging.getLogger(__name__)

TOP1 = "top1.json"
"""In the folder of one number of blocks: its accuracy, once it is trained."""


def partial(recipe: "ImagenetPartial", ctx: Context) -> dict[str, float]:
    """Train each number of blocks one after another; return the accuracy of each.

    What has its number already is not trained again. Leaves figures/partial.png.
    """
    machine = start(ctx.out)
    encoder, samples = inputs(ctx, recipe.image_size, machine)
    depth = encoder.spec.depth
    numbers = [blocks for blocks in recipe.blocks if exists(blocks, depth)]
    if not numbers:
        raise ValueError(
            f"imagenet_partial.blocks must have a number below the encoder's depth {depth} or all, "
            f"got {recipe.blocks}; add --blocks all"
        )
    found: dict[str, float] = {}
    for blocks in numbers:
        one = dataclasses.replace(ctx, out=ctx.out / f"blocks-{blocks}")
        known = machine.ranks.share(_known(recipe, one) if machine.ranks.first else None)
        found[blocks] = _top1(recipe, one, machine, encoder, samples) if known is None else known
        if machine.ranks.first:
            about = {metric_name(blocks): found[blocks]}
            append_metrics(ctx.out, step=len(found), steps=len(numbers), **about)
    if not machine.ranks.first:
        return {}
    about = {b: json.loads((ctx.out / f"blocks-{b}" / FACTS).read_text()) for b in numbers}
    record_facts(ctx.out, blocks=about, deviations=_deviations(recipe, depth))
    draw_partial(ctx.out / "figures" / "partial.png", encoder.spec.arch, found)
    return {metric_name(blocks): value for blocks, value in found.items()}


def exists(blocks: str, depth: int) -> bool:
    """Return whether an encoder of that depth has so many last blocks below the whole."""
    return blocks == "all" or float(blocks) < depth


class PartialFineTuning(FineTuning):
    """Fine-tuning of fc_norm, head and the last blocks; the rest is frozen, in eval mode."""

    def __init__(self, recipe: "ImagenetPartial", model: Classifier, blocks: str) -> None:
        super().__init__(recipe, model)
        self.moving = moving_parts(model, blocks)
        model.requires_grad_(False)
        for part in self.moving:
            part.requires_grad_(True)

    def train(self, mode: bool = True) -> "PartialFineTuning":
        """Put what is trained into that mode and the rest into eval mode: it drops no path."""
        super().train(False)
        self.training = mode
        for part in self.moving:
            part.train(mode)
        return self


def moving_parts(model: Classifier, blocks: str) -> list[nn.Module]:
    """Return the modules that are trained with that many of the last blocks.

    0.5 is the second half of the last one: norm2, the MLP, and what scales and drops its branch.
    """
    if blocks == "all":
        return [model]
    new: list[nn.Module] = [model.fc_norm, model.head]
    if blocks == "0.5":
        last = model.blocks[-1]
        return [last.norm2, last.mlp, last.ls2, last.drop_path2, *new]
    count = int(blocks)
    return [*model.blocks[len(model.blocks) - count :], *new]


def _top1(
    recipe: "ImagenetPartial", one: Context, machine: Machine, encoder: Encoder, samples: Samples
) -> float:
    """Train one number of blocks in its own folder and return its accuracy, kept there.

    On ranks but the first the value means nothing.
    """
    one.out.mkdir(exist_ok=True)
    blocks = one.out.name.removeprefix("blocks-")
    model = untrained(recipe, one.seed, encoder, len(samples.classes))
    module = PartialFineTuning(recipe, model, blocks)
    count = sum(p.numel() for p in module.parameters() if p.requires_grad)
    log.info("%s blocks: training %d parameters", blocks, count)
    predictions = score(trained(module, one, machine, samples), one, machine)
    top1 = predictions.accuracy()
    if machine.ranks.first:
        record_facts(one.out, trained_parameters=count)
        write_json(one.out / TOP1, {**_identity(recipe, one), "top1": top1})
    return top1


def _known(recipe: "ImagenetPartial", one: Context) -> float | None:
    """Return the accuracy kept in the folder if it is of this very training, else None."""
    try:
        kept = json.loads((one.out / TOP1).read_text())
    except (OSError, ValueError):
        return None
    top1 = kept.pop("top1", None) if isinstance(kept, dict) else None
    return top1 if kept == _identity(recipe, one) else None


def _identity(recipe: "ImagenetPartial", one: Context) -> dict[str, Any]:
    """Return what a kept number belongs to."""
    return {"recipe": recipe.name, "version": recipe.version, **fields_of(recipe), "seed": one.seed}


def _deviations(recipe: "ImagenetPartial", depth: int) -> list[str]:
    """Return how the protocol differs from the paper's, whatever the fields say."""
    found = [
        f"epochs {recipe.epochs} for every number of blocks, published the best of 50, 100 and 200"
    ]
    if "0" in recipe.blocks:
        found.append("0 blocks is fc_norm and head under the same settings, published linear probe")
    absent = [blocks for blocks in recipe.blocks if not exists(blocks, depth)]
    if absent:
        found.append(f"{', '.join(absent)} blocks: not of an encoder with {depth}")
    return found
