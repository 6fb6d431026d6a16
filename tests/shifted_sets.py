"""Makes small shifted test sets in the layouts of ImageNet-C, -A, -R and -Sketch, as JPEG files."""

import numpy as np
from PIL import Image

from mae_bench.kit.layouts import shifted_folders

SIDE = 64


def make_shifted(root, classes, counts=None, sets=("imagenet-c", "imagenet-a")):
    """Make the sets in root: an image of every class, or as `counts` says by folder and class."""
    for folder in (folder for one in sets for folder in shifted_folders(one)):
        wanted = dict.fromkeys(classes, 1) | (counts or {}).get(folder, {})
        for name, count in wanted.items():
            for number in range(count):
                write_image(root / folder / name / f"{number}.JPEG", (folder, name, number))
    return root


def write_image(path, key, size=(SIDE, SIDE)):
    """Write a JPEG whose content depends on the key alone; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(repr(key).encode()))
    low = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(low).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
