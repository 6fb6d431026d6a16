"""One pretraining run, whatever the objective."""

from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from mae_bench.core.files import ENCODER, record_facts
from mae_bench.core.recipe import Context
from mae_bench.kit.datasets import Order, Views, read_samples, train_batches
from mae_bench.kit.encoder import read_encoder, write_encoder
from mae_bench.kit.facts import encoder_facts
from mae_bench.kit.loop import Training, train
from mae_bench.kit.optim import decay_groups
from mae_bench.kit.randomness import seed_globals
from mae_bench.kit.schedule import WarmupCosine, scaled_lr

if TYPE_CHECKING:
    from pretrain.recipe import PretrainRecipe


def pretrain(recipe: "PretrainRecipe", ctx: Context) -> dict[str, float]:
    """Train the recipe's objective on ctx.data, write the encoder file, return the metrics."""
    assert ctx.data is not None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    seed_globals(ctx.seed, "init")
    objective = recipe.objective(ctx.data)
    module = cast(nn.Module, objective).to(device)
    samples = read_samples(ctx.data, "train")
    order = Order(len(samples.files), recipe.batch_size, recipe.epochs, ctx.seed)
    views = Views(samples, objective.view(), ctx.seed)
    schedule = WarmupCosine(
        scaled_lr(recipe.lr_per_256, recipe.batch_size),
        recipe.min_lr,
        recipe.warmup_epochs,
        recipe.epochs,
    )
    optimizer = torch.optim.AdamW(
        decay_groups(module, recipe.weight_decay), lr=0.0, betas=(0.9, recipe.beta2)
    )
    training = Training(
        out=ctx.out,
        seed=ctx.seed,
        steps=order.steps_per_epoch * recipe.epochs,
        steps_per_epoch=order.steps_per_epoch,
        batch_size=recipe.batch_size,
        batches=lambda start, parts: train_batches(views, order, start, parts),
        lr_at=schedule.at,
    )
    train(module, optimizer, training)
    metrics = objective.finish(ctx.data, ctx.out)
    write_encoder(ctx.out / ENCODER, objective.spec, objective.encoder_state())
    record_facts(ctx.out, encoder=encoder_facts(read_encoder(ctx.out / ENCODER)))
    return metrics
