"""A picture of what a siamese network is shown: training images and their two views."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mae_bench.kit.colour import DRAWS
from mae_bench.kit.datasets import Views
from mae_bench.kit.figures import write_picture
from mae_bench.kit.images import eval_view
from mae_bench.kit.randomness import generator
from mae_bench.kit.samples import read_samples
from pretrain.reconstruct import grid

if TYPE_CHECKING:
    from pretrain.siamese_model import Siamese

NUM_IMAGES = 8
SHOWN = "training images, and their first and second views as the network sees them"


@torch.no_grad()
def save_views(net: "Siamese", data: Path, path: Path) -> None:
    """Write a grid of training images: rows are the middle of the image, first and second view."""
    samples = read_samples(data, "train")
    number = min(NUM_IMAGES, len(samples))
    picked = [i * len(samples) // number for i in range(number)]
    middles = Views(samples, eval_view(net.recipe.image_size), seed=0)
    pairs = Views(samples, net.view(), seed=0)
    draws = torch.rand(number, net.num_crops, DRAWS, generator=generator(0, "figure"))
    crops = torch.stack([pairs[0, i][0] for i in picked])
    views = net.coloured(crops, draws)
    write_picture(path, grid([torch.stack([middles[0, i][0] for i in picked]), *views]), SHOWN)
