"""Trains a linear probe on this rank, and scores it on all ranks and on one.

python drive.py OUT DATA ENCODER FIELDS, under torchrun.
"""

import json
import sys
from pathlib import Path

import pandas as pd
import torch

from mae_bench.core.recipe import Context
from mae_bench.kit.datasets import Views
from mae_bench.kit.evaluation import PREDICTIONS, predict
from mae_bench.kit.images import eval_view
from mae_bench.kit.machine import start
from mae_bench.kit.samples import read_samples
from transfer.classification import inputs, score
from transfer.imagenet_linear import ImagenetLinear
from transfer.linear_probe import trained_probe

if __name__ == "__main__":
    torch.set_num_threads(1)
    out, data, encoder_file = map(Path, sys.argv[1:4])
    fields = json.loads(sys.argv[4])
    recipe = ImagenetLinear(**fields | {"lr_factors": tuple(fields["lr_factors"])})
    ctx = Context(out, 3, data, encoder_file)
    machine = start(out)
    encoder, samples = inputs(ctx, recipe.image_size, machine)
    probe = trained_probe(recipe, ctx, machine, encoder, samples)
    two = score(probe.of(0), ctx, machine)
    if machine.ranks.first:
        weights = torch.cat([probe.layers[0].weight.flatten(), probe.layers[0].bias])
        torch.save(weights.detach(), out / "layer.pt")
        views = Views(read_samples(data, "val"), eval_view(recipe.image_size), seed=0)
        one = predict(probe.of(0), views)
        found = {"two": two.top.tolist(), "one": one.top.tolist()}
        found["images"] = len(pd.read_parquet(out / PREDICTIONS))
        (out / "scores.json").write_text(json.dumps(found))
    machine.ranks.wait()
