"""A picture of what a pretrained masked autoencoder paints."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated

import tyro

from mae_bench.cli import OK
from mae_bench.commands.options import parse


@dataclass(frozen=True)
class ReconstructOptions:
    """What to paint with, and what."""

    encoder: tyro.conf.Positional[Path]
    """An encoder.safetensors with its pretrained.safetensors beside it, or the latter."""
    images: tyro.conf.Positional[tuple[Path, ...]]
    """Image files, a column each."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("reconstructions.png")
    """Where the picture goes: rows are original, masked and reconstruction."""
    seed: int = 0
    """Another seed hides other patches."""


def reconstruct(words: list[str]) -> int:
    """Write the picture; return the exit code."""
    about = (
        "Paint the hidden patches of images. Visible patches are pasted as they are; normalised "
        "predictions are undone with the true mean and deviation of each patch."
    )
    options = parse(ReconstructOptions, "reconstruct", words, about)
    if not options.images:
        raise ValueError("reconstruct needs image files: mae-bench reconstruct ENCODER IMAGES...")
    paint: Callable[[Path, list[Path], Path, int], None]
    paint = import_module("pretrain.reconstruct").reconstruct
    paint(options.encoder, list(options.images), options.out, options.seed)
    print(f"picture: {options.out}")
    return OK
