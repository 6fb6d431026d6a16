"""One pretraining run, whatever the objective."""

from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from mae_bench.core.files import ENCODER, record_facts
from mae_bench.core.recipe import Context
from mae_bench.kit.datasets import Views, read_samples
from mae_bench.kit.encoder import read_encoder, write_encoder
from mae_bench.kit.facts import encoder_facts
from mae_bench.kit.loop import epoch_training, train
from mae_bench.kit.optim import decay_groups
from mae_bench.kit.randomness import seed_globals

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
    views = Views(samples, objective.view(), ctx.seed)
    optimizer = torch.optim.AdamW(
        decay_groups(module, recipe.weight_decay), lr=0.0, betas=(0.9, recipe.beta2)
    )
    train(module, optimizer, epoch_training(recipe, ctx, views))
    metrics = objective.finish(ctx.data, ctx.out)
    write_encoder(ctx.out / ENCODER, objective.spec, objective.encoder_state())
    record_facts(ctx.out, encoder=encoder_facts(read_encoder(ctx.out / ENCODER)))
    return metrics
