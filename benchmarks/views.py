"""Two views of images: colours of a batch, and all from file to batch, against the usual ways.

python benchmarks/views.py [--threads 1] [--rounds 7] [--images 100]
`pillow` is what the papers' code composes: torchvision's classic transforms on Pillow images, in
the loader. `torchvision` is its v2 functions on uint8, `kornia` (where it is installed) its
functions with factors for each image, in one order for all. CPU time on one thread, else wall time;
on a GPU all but Pillow's run there.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from image_loader import BATCH, make_files
from PIL import Image, ImageFilter, ImageOps
from side_by_side import medians, report
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms.v2 import functional as v2

from mae_bench.kit.colour import DRAWS, Colours, recolour
from mae_bench.kit.datasets import Views, loader_options
from mae_bench.kit.decode import decode, to_image
from mae_bench.kit.images import crops_view
from mae_bench.kit.samples import read_samples

try:
    import kornia
except ImportError:
    kornia = None

JITTER = (0.4, 0.4, 0.2, 0.1)
PAIR = (Colours(JITTER, 0.8, 0.2, 1.0, 0.0), Colours(JITTER, 0.8, 0.2, 0.1, 0.2))
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
Recolour = Callable[[Tensor, Tensor, Colours], Tensor]


def pillow(by: Colours, side: int) -> transforms.Compose:
    """Return the colours on a Pillow image."""

    def blurred(image: Image.Image) -> Image.Image:
        sigma = random.uniform(*by.blur_sigma) * side / 224
        return image.filter(ImageFilter.GaussianBlur(sigma))

    def now_and_then(change: Callable[[Image.Image], Image.Image], p: float) -> object:
        return transforms.RandomApply([transforms.Lambda(change)], p=p)

    jitter = transforms.ColorJitter(*by.jitter)
    return transforms.Compose(
        [
            transforms.RandomApply([jitter], p=by.jitter_probability),
            transforms.RandomGrayscale(by.grey_probability),
            now_and_then(blurred, by.blur_probability),
            now_and_then(ImageOps.solarize, by.solarize_probability),
        ]
    )


def with_torchvision(images: Tensor, draws: Tensor, by: Colours) -> Tensor:
    """Return the colours image by image."""
    return torch.stack([_one(*pair, by) for pair in zip(images, draws.tolist(), strict=True)])


def _one(image: Tensor, draws: list[float], by: Colours) -> Tensor:
    if draws[0] < by.jitter_probability:
        steps = (v2.adjust_brightness, v2.adjust_contrast, v2.adjust_saturation, v2.adjust_hue)
        middles = (1.0, 1.0, 1.0, 0.0)
        for i in random.Random(draws[5]).sample(range(4), 4):
            image = steps[i](image, middles[i] + by.jitter[i] * (2 * draws[1 + i] - 1))
    if draws[6] < by.grey_probability:
        image = v2.rgb_to_grayscale(image, 3)
    if draws[7] < by.blur_probability:
        sigma = (0.1 + 1.9 * draws[8]) * image.shape[-1] / 224
        kernel = 2 * max(1, round(3 * sigma)) + 1
        image = v2.gaussian_blur(image, [kernel, kernel], [sigma, sigma])
    return v2.solarize(image, 128) if draws[9] < by.solarize_probability else image


def with_kornia(images: Tensor, draws: Tensor, by: Colours) -> Tensor:
    """Return the colours by kornia's functions, each on the images that get it."""
    draws, change = draws.to(images.device), kornia.enhance
    images, side = images.float() / 255, images.shape[-1]
    rows = (draws[:, 0] < by.jitter_probability).nonzero()[:, 0]
    low = draws[rows, 1:5] * 2 - 1
    some = images[rows]
    some = change.adjust_brightness_accumulative(some, 1 + by.jitter[0] * low[:, 0])
    some = change.adjust_contrast_with_mean_subtraction(some, 1 + by.jitter[1] * low[:, 1])
    some = change.adjust_saturation_with_gray_subtraction(some, 1 + by.jitter[2] * low[:, 2])
    images[rows] = change.adjust_hue(some, by.jitter[3] * low[:, 3] * 2 * torch.pi)
    rows = (draws[:, 6] < by.grey_probability).nonzero()[:, 0]
    images[rows] = kornia.color.rgb_to_grayscale(images[rows]).expand(-1, 3, -1, -1)
    rows = (draws[:, 7] < by.blur_probability).nonzero()[:, 0]
    sigma = (0.1 + 1.9 * draws[rows, 8:9]).expand(-1, 2) * side / 224
    kernel = 2 * round(6 * side / 224) + 1
    images[rows] = kornia.filters.gaussian_blur2d(images[rows], (kernel, kernel), sigma)
    rows = (draws[:, 9] < by.solarize_probability).nonzero()[:, 0]
    images[rows] = change.solarize(images[rows], 0.5)
    return images.mul_(255).round_().to(torch.uint8)


def colours(side: int, batch: int, rounds: int, clock: Callable[[], float]) -> None:
    """Measure the colours of two views of a batch."""
    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder), 8)
        files = sorted(Path(folder).rglob("*.JPEG"))
        photos = [decode(path.read_bytes()) for path in files]
    view = crops_view(side, (0.08, 1.0), 1)
    crops = torch.cat([view(photos[i % 8], random.Random(i)) for i in range(batch)])
    pictures = [to_image(crop) for crop in crops]
    usual = [pillow(by, side) for by in PAIR]
    draws = torch.rand(2, batch, DRAWS, generator=torch.Generator().manual_seed(0))
    images = crops.to(DEVICE)

    def batched(how: Recolour) -> Callable[[], None]:
        def work() -> None:
            for rows, by in zip(draws, PAIR, strict=True):
                how(images, rows, by)

        return work

    works = {"pillow": lambda: [change(p) for change in usual for p in pictures]}
    works |= {"torchvision": batched(with_torchvision)}
    works |= {"kornia": batched(with_kornia)} if kornia else {}
    works |= {"ours": batched(recolour)}
    seconds = medians(works, rounds, clock)
    show(f"Colours of a view, {batch} images of {side} pixels", seconds, 2 * batch)


def from_files(images: int, rounds: int, clock: Callable[[], float]) -> None:
    """Measure two views from file to batch, in one process."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_files(root, images)
        bicubic = transforms.InterpolationMode.BICUBIC
        crop = transforms.RandomResizedCrop(224, (0.08, 1.0), interpolation=bicubic)
        ways = [
            transforms.Compose(
                [
                    crop,
                    pillow(by, 224),
                    transforms.RandomHorizontalFlip(),
                    transforms.PILToTensor(),
                ]
            )
            for by in PAIR
        ]
        usual = ImageFolder(str(root / "train"), lambda image: [way(image) for way in ways])
        views = Views(read_samples(root, "train"), crops_view(224, (0.08, 1.0), 2), seed=0)
        places = [[(0, i) for i in range(at, at + BATCH)] for at in range(0, images, BATCH)]
        draws = torch.rand(BATCH, 2, DRAWS)

        def ours() -> None:
            for crops, _, _ in DataLoader(views, batch_sampler=places, **loader_options(0)):
                for index, by in enumerate(PAIR):
                    recolour(crops[:, index].to(DEVICE), draws[: len(crops), index], by)

        works = {"pillow": lambda: list(DataLoader(usual, BATCH)), "ours": ours}
        seconds = medians(works, rounds, clock)
        show("Two views of 224 pixels from a file of 500x375, one process", seconds, images)


def show(title: str, seconds: dict[str, float], count: int) -> None:
    """Print milliseconds of each and how many times as long as ours."""
    texts = (f"{1e3 * s / count:.3f} ms, {s / seconds['ours']:.2f}x ours" for s in seconds.values())
    report(title, dict(zip(seconds, texts, strict=True)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    one = options.threads == 1 and DEVICE.type == "cpu"
    clock = time.process_time if one else time.perf_counter
    for side, batch in ((64, 64), (224, 32)):
        colours(side, batch, options.rounds, clock)
    if options.images:
        from_files(options.images, options.rounds, clock)


if __name__ == "__main__":
    main()
