"""From JPEG files to uint8 batches: this project's loader against torchvision's usual one.

python benchmarks/image_loader.py [--images 400] [--rounds 5]
The files are the photographs that scikit-image and scikit-learn carry, at ImageNet's usual 500x375.
CPU time an image with one process, and wall time with two workers.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from side_by_side import medians, report
from skimage import data
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from mae_bench.kit.datasets import Views, loader_options
from mae_bench.kit.images import train_view
from mae_bench.kit.samples import read_samples

BATCH = 50


def make_files(root: Path, count: int) -> None:
    """Write photographs of 500x375 pixels, quality 92, 4:2:0, in ten classes."""
    photos = [getattr(data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")]
    photos += load_sample_images().images
    for i in range(count):
        photo = Image.fromarray(photos[i % len(photos)][:, :, :3])
        folder = root / "train" / f"class{i % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        image = photo.rotate(i % 4).resize((500, 375), Image.Resampling.BICUBIC)
        image.save(folder / f"{i}.JPEG", "JPEG", quality=92)


def usual(root: Path, workers: int) -> DataLoader:
    """Return ImageFolder, PIL, RandomResizedCrop (bicubic), flip, ToTensor, Normalize."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(
                224, (0.2, 1.0), interpolation=transforms.InterpolationMode.BICUBIC
            ),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    return DataLoader(
        ImageFolder(str(root / "train"), transform),
        BATCH,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def ours(root: Path, workers: int) -> DataLoader:
    """Return the loader of `mae-bench pretrain`."""
    samples = read_samples(root, "train")
    views = Views(samples, train_view(224, (0.2, 1.0)), seed=0)
    places = [[(0, i) for i in range(at, at + BATCH)] for at in range(0, len(samples), BATCH)]
    return DataLoader(
        views,
        batch_sampler=places,
        persistent_workers=workers > 0,  # as in training, where they live as long as the run
        **loader_options(workers),
    )


def drain(loader: DataLoader) -> None:
    """Read everything once."""
    for _ in loader:
        pass


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_files(root, options.images)
        for title, workers, clock in (
            ("Image loader, CPU time an image, one process", 0, time.process_time),
            ("Image loader, wall time an image, two workers", 2, time.perf_counter),
        ):
            loaders = {"usual": usual(root, workers), "ours": ours(root, workers)}
            works = {name: lambda one=one: drain(one) for name, one in loaders.items()}
            seconds = medians(works, options.rounds, clock)
            report(
                title,
                {
                    name: f"{1e3 * value / options.images:.2f} ms, "
                    f"{seconds['usual'] / value:.2f}x usual"
                    for name, value in seconds.items()
                },
            )


if __name__ == "__main__":
    main()
