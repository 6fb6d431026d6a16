"""Packs an image folder into tar shards in the WebDataset convention."""

import io
import random
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from mae_bench.core.files import commit, write_bytes
from mae_bench.kit.layouts import CLASSES
from mae_bench.kit.samples import Samples, read_samples

Progress = Callable[[int, int], None]


def make_shards(
    source: Path, target: Path, images_per_shard: int, progress: Progress = lambda done, total: None
) -> list[Path]:
    """Write source/{train,val} as target/<split>/<split>-000000.tar ... and return the shards.

    Each image file is kept byte for byte as KEY.<extension> beside KEY.cls, in an order shuffled
    once, so that a reader that goes through in sequence sees mixed classes. Whole shards of an
    earlier call stay; classes.txt names the labels. Raises ValueError if a split is missing or the
    target holds something else.
    """
    splits = {split: read_samples(source, split) for split in ("train", "val")}
    names = "".join(f"{name}\n" for name in splits["train"].classes)
    listing = target / CLASSES
    if listing.exists() and listing.read_text() != names:
        raise ValueError(f"{target} holds shards of other classes; give an empty folder")
    target.mkdir(parents=True, exist_ok=True)
    write_bytes(listing, names.encode())
    total, done, made = sum(map(len, splits.values())), 0, []
    for split, samples in splits.items():
        order = list(range(len(samples)))
        random.Random(0).shuffle(order)
        (target / split).mkdir(exist_ok=True)
        for number, at in enumerate(range(0, len(order), images_per_shard)):
            path = target / split / f"{split}-{number:06d}.tar"
            chosen = order[at : at + images_per_shard]
            if not path.exists():
                _write(path, samples, chosen)
            made.append(path)
            done += len(chosen)
            progress(done, total)
    return made


def _write(path: Path, samples: Samples, chosen: list[int]) -> None:
    """Write one shard, whole or not at all."""
    part = path.with_suffix(".part")
    with part.open("wb") as stream:
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for index in chosen:
                name = PurePosixPath(samples.names[index].decode())
                key = f"{name.parent}/{name.stem.replace('.', '_')}".removeprefix("./")
                _add(tar, key + name.suffix.lower(), samples.read(index))
                _add(tar, f"{key}.cls", str(int(samples.labels[index])).encode())
        stream.flush()
    commit(part, path)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add one member, without times and owners, so that the same images give the same bytes."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
