"""One pretraining run, whatever the objective."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from torch import nn

from mae_bench.core.compute import Compute
from mae_bench.core.files import ENCODER, record_facts
from mae_bench.core.recipe import Context
from mae_bench.kit.batch_norm import synced
from mae_bench.kit.datasets import Views
from mae_bench.kit.encoder import load_exactly, read_encoder, write_encoder
from mae_bench.kit.facts import encoder_facts
from mae_bench.kit.knn import encoder_knn
from mae_bench.kit.loop import train
from mae_bench.kit.machine import start
from mae_bench.kit.randomness import seed_globals
from mae_bench.kit.samples import read_samples
from mae_bench.kit.training import epoch_training
from mae_bench.kit.vit import VisionTransformer

if TYPE_CHECKING:
    from pretrain.objective import Objective
    from pretrain.recipe import PretrainRecipe


def pretrain(recipe: "PretrainRecipe", ctx: Context) -> dict[str, float]:
    """Train the recipe's objective on ctx.data, write the encoder file, return the metrics."""
    assert ctx.data is not None
    machine = start(ctx.out)
    seed_globals(ctx.seed, "init")
    objective = recipe.objective(ctx.data)
    module = machine.take(synced(cast(nn.Module, objective), machine.ranks))
    views = Views(read_samples(ctx.data, "train"), objective.view(), ctx.seed)
    optimizer = recipe.make_optimizer(module)
    training = epoch_training(recipe, ctx, views, machine)
    watch = neighbours(objective, ctx.data, machine.compute)
    module = train(module, optimizer, dataclasses.replace(training, watch=watch))
    if not machine.ranks.first:
        return {}
    objective = cast("Objective", module)
    metrics = objective.finish(ctx.data, ctx.out)
    write_encoder(ctx.out / ENCODER, objective.spec, objective.encoder_state())
    record_facts(ctx.out, encoder=encoder_facts(read_encoder(ctx.out / ENCODER)))
    return metrics


def neighbours(
    objective: "Objective", data: Path, compute: Compute
) -> Callable[[int], dict[str, float]] | None:
    """Return what measures the encoder's k-NN accuracy every so many epochs, None if not wanted."""
    if not compute.knn_every:
        return None
    if compute.shard == "fsdp":
        raise ValueError("--knn-every needs whole weights on each rank; use --shard ddp")

    def watch(epoch: int) -> dict[str, float]:
        if epoch % compute.knn_every:
            return {}
        model = VisionTransformer(objective.spec)
        load_exactly(model, objective.encoder_state())
        device = next(iter(objective.encoder_state().values())).device
        return {"knn_top1": encoder_knn(model.to(device), data)}

    return watch
