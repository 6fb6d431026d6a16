"""A picture of what a masked autoencoder sees and what it paints."""

import random
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from mae_bench.kit.datasets import Views
from mae_bench.kit.decode import read_image, to_pixels
from mae_bench.kit.figures import write_picture
from mae_bench.kit.images import eval_view, normalize
from mae_bench.kit.randomness import generator
from mae_bench.kit.spec import IMAGENET_MEAN, IMAGENET_STD
from mae_bench.kit.vit import gather_tokens
from pretrain.pixels import images_of, patches_of
from pretrain.pretrained import load_pretrained

if TYPE_CHECKING:
    from pretrain.mae_model import MAEObjective

GREY = 128
GAP = 4
NUM_IMAGES = 8


@torch.no_grad()
def save_reconstructions(model: "MAEObjective", views: Views, path: Path) -> None:
    """Write a grid of validation images: rows are original, masked, reconstruction.

    Normalised predictions are undone with the true statistics of each patch; visible patches are
    pasted as they are.
    """
    count = len(views.samples)
    picked = [i * count // NUM_IMAGES for i in range(NUM_IMAGES)] if count > NUM_IMAGES else [0]
    images = torch.stack([views[0, i][0] for i in picked])
    shown = "validation images: original, what the encoder sees, what is painted"
    write_picture(path, grid(list(reconstructions(model, images, seed=0))), shown)


def reconstruct(source: Path, files: list[Path], out: Path, seed: int) -> None:
    """Write a column for each image file: original, masked, reconstruction.

    `source` is an encoder.safetensors with pretrained.safetensors beside it, or the latter.
    Raises ValueError naming a file that is missing or no image.
    """
    model = load_pretrained(source)
    view = eval_view(model.spec.image_size)
    images = [view(to_pixels(read_image(path)), random.Random(0)) for path in files]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = reconstructions(model.to(device), torch.stack(images), seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    grid(list(rows)).save(out)


@torch.no_grad()
def reconstructions(
    model: "MAEObjective", images: UInt8[Tensor, "batch 3 side side"], seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the images, the images as the encoder sees them, and what is painted, on the CPU."""
    device = model.cls_token.device
    noise = torch.rand(len(images), model.spec.grid**2, generator=generator(seed, "figure"))
    _, masked = model.split(noise.to(device))
    painted = paint(model, normalize(images.to(device)), noise.to(device))
    hidden = cover(images.to(device), masked, model.spec.patch_size)
    return images, hidden.cpu(), painted.cpu()


def paint(
    model: "MAEObjective",
    images: Float[Tensor, "batch 3 side side"],
    noise: Float[Tensor, "batch patches"],
) -> UInt8[Tensor, "batch 3 side side"]:
    """Return the images with every masked patch replaced by its reconstruction."""
    size = model.spec.patch_size
    visible, masked = model.split(noise)
    pixels = model.predict(images, visible, masked).float()
    patches = patches_of(images, size)
    if model.recipe.norm_pix:
        variance, mean = torch.var_mean(gather_tokens(patches, masked), dim=2, keepdim=True)
        pixels = pixels * (variance + 1e-6).sqrt() + mean
    index = masked[:, :, None].expand(-1, -1, pixels.shape[2])
    return _to_uint8(images_of(patches.scatter(1, index, pixels), size))


def cover(
    images: UInt8[Tensor, "batch 3 side side"], masked: Tensor, patch_size: int
) -> UInt8[Tensor, "batch 3 side side"]:
    """Return the images with the masked patches in grey."""
    patches = patches_of(images, patch_size)
    index = masked[:, :, None].expand(-1, -1, patches.shape[2])
    return images_of(patches.scatter(1, index, GREY), patch_size)


def grid(rows: list[UInt8[Tensor, "batch 3 side side"]]) -> Image.Image:
    """Return the rows of images as one picture with white gaps."""
    count, _, side, _ = rows[0].shape
    step = side + GAP
    sheet = Image.new("RGB", (count * step - GAP, len(rows) * step - GAP), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            tile = Image.fromarray(image.permute(1, 2, 0).numpy())
            sheet.paste(tile, (x * step, y * step))
    return sheet


def _to_uint8(images: Float[Tensor, "batch 3 side side"]) -> UInt8[Tensor, "batch 3 side side"]:
    """Return normalised images as pixels."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=images.device).view(3, 1, 1)
    return ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
