"""Training fed by the image loader against training on one batch that is always there (GPU).

python benchmarks/fed_training.py [--arch vit_base_patch16] [--batch 256] [--steps 60]
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import torch
from image_loader import make_files
from pretrain_step import ours
from side_by_side import medians, report

from mae_bench.kit.datasets import Feed, Order, Views
from mae_bench.kit.images import train_view
from mae_bench.kit.samples import read_samples
from mae_bench.kit.split import split_batch


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="vit_base_patch16")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    held = torch.zeros(options.batch, 3, 224, 224, dtype=torch.uint8, device=device)
    step = ours(options.arch, held, compiled=device.type == "cuda")
    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder), 4 * options.batch)
        samples = read_samples(Path(folder), "train")
        order = Order(len(samples), options.batch, epochs=1_000_000, seed=0)
        feed = Feed(Views(samples, train_view(224, (0.2, 1.0)), seed=0), order)
        batches = feed.batches(0, 0, split_batch(options.batch, 0, 1, options.batch))

        def fed() -> None:
            for images, _ in itertools.islice(batches, options.steps):
                held.copy_(images, non_blocking=True)
                step()

        def synthetic() -> None:
            for _ in range(options.steps):
                step()

        seconds = medians({"synthetic": synthetic, "fed": fed}, rounds=3)
    rate = {name: options.steps * options.batch / value for name, value in seconds.items()}
    ratio = rate["fed"] / rate["synthetic"]
    report(
        f"Fed against synthetic training, {options.arch}, batch {options.batch}",
        {name: f"{value:.0f} img/s" for name, value in rate.items()} | {"ratio": f"{ratio:.3f}"},
    )


if __name__ == "__main__":
    main()
