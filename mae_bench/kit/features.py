"""Frozen features of a split's images: computed once, kept in the user's cache until anything that
decides them changes."""

import contextlib
import hashlib
import io
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from mae_bench.core.files import write_bytes
from mae_bench.kit.datasets import Views, eval_batches
from mae_bench.kit.encoder import Encoder, load_exactly
from mae_bench.kit.images import eval_view, normalize
from mae_bench.kit.machine import Machine
from mae_bench.kit.samples import Samples, cache_folder
from mae_bench.kit.vit import VisionTransformer

log = logging.getLogger(__name__)

VERSION = 2
"""Raised when the same key would give other features."""
BATCH, CHUNK = 128, 4096
"""Images of one forward pass and in one file of the cache. No batch spans two files, so that what
is computed does not depend on what was there already."""
MOST_BYTES = 64 * 2**30
"""All features that are kept; the ones unused for longest go first."""


@dataclass(frozen=True)
class Features:
    """The features of some images in their order, in parts that may lie on disk."""

    parts: tuple[Float[ndarray, "_ width"], ...]
    """Of 4096 images each, the last of the rest; float16, or float32 where that overflows."""

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def blocks(self, size: int = CHUNK) -> Iterator[Float[Tensor, "_ width"]]:
        """Yield as many whole parts at a time as have no more than `size` rows, in memory."""
        step = max(1, size // CHUNK)
        for at in range(0, len(self.parts), step):
            yield torch.from_numpy(np.concatenate(self.parts[at : at + step]))

    def rows(self) -> Float[Tensor, "images width"]:
        """Return all features in memory as float32."""
        return torch.cat([block.float() for block in self.blocks()])


def frozen_features(encoder: Encoder, samples: Samples, machine: Machine) -> Features:
    """Return the pooled tokens of all images in the test view of the encoder's image size.

    Every rank must call it: each computes every so many-th part, so that no image is counted twice,
    and the first gets them all, the others none. Parts are kept as they are done, so that a run
    that was killed goes on where it was. They are kept as float16: half the disk of float32, and
    its 11 bits are more than the 8 of the bf16 that a GPU computes them in.
    Raises ValueError at an unreadable image and at features that are not finite.
    """
    ranks, held = machine.ranks, {}
    numbers = range(-(-len(samples) // CHUNK))
    if ranks.first:
        cache = _Cache(feature_key(encoder, samples, machine))
        held = cache.held(len(samples), encoder.spec.width)
        cache.make_room((len(numbers) - len(held)) * 2 * CHUNK * encoder.spec.width)
    missing = ranks.share([number for number in numbers if number not in held])
    log.info("features: %d of %d parts are kept from before", len(held), len(numbers))
    fresh = _computed(encoder, samples, missing[ranks.rank :: ranks.world], machine)
    for _ in range(0, len(missing), ranks.world):
        found = ranks.union(dict([part]) if (part := next(fresh, None)) else {})
        if ranks.first:
            held |= {number: cache.keep(number, values) for number, values in found.items()}
    return Features(tuple(held[number] for number in numbers) if ranks.first else ())


def feature_key(encoder: Encoder, samples: Samples, machine: Machine) -> str:
    """Return the hash of all that decides the features.

    That is the encoder's bytes, what was done to it since and its shape at this image size, the
    names and sizes of the image files, the view, the pooling and the arithmetic.
    """
    identity = {
        "version": VERSION,
        "encoder": encoder.sha256,
        "history": encoder.history,
        "spec": asdict(encoder.spec),
        "images": _listing(samples),
        "view": f"eval_view({encoder.spec.image_size})",
        "pool": "pooled",
        "precision": [machine.ranks.device.type, str(machine.dtype)],
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


@torch.no_grad()
def pooled_batches(
    model: VisionTransformer, views: Views, chosen: Sequence[int], dtype: torch.dtype
) -> Iterator[Float[Tensor, "batch width"]]:
    """Yield the pooled tokens of the chosen images on the model's device, batch by batch.

    The model must be in eval mode; matrix products are of that type.
    """
    device, half = next(model.parameters()).device, dtype != torch.float32
    for images, _ in eval_batches(views, chosen, min(BATCH, CHUNK)):
        with torch.autocast(device.type, dtype if half else None, enabled=half):
            tokens = model(normalize(images.to(device), *model.spec.pixels))
        yield model.pooled(tokens).float()


def _computed(
    encoder: Encoder, samples: Samples, numbers: Sequence[int], machine: Machine
) -> Iterator[tuple[int, Float[ndarray, "_ width"]]]:
    """Yield number and features of those parts, holding one part at a time."""
    if not numbers:
        return
    model = VisionTransformer(encoder.spec).eval().requires_grad_(False)
    load_exactly(model, encoder.state)
    model.to(machine.ranks.device)
    ranges = [range(n * CHUNK, min((n + 1) * CHUNK, len(samples))) for n in numbers]
    chosen = [index for part in ranges for index in part]
    views = Views(samples, eval_view(encoder.spec.image_size), seed=0)
    waiting: list[Tensor] = []
    parts = zip(numbers, ranges, strict=True)
    number, wanted = next(parts)
    for batch in pooled_batches(model, views, chosen, machine.dtype):
        waiting.append(batch.cpu())
        if sum(map(len, waiting)) == len(wanted):
            yield number, _small(torch.cat(waiting).numpy(), encoder)
            waiting = []
            number, wanted = next(parts, (number, wanted))
    assert not waiting  # only the last part is short, so no batch spans two


def _small(features: Float[ndarray, "_ width"], encoder: Encoder) -> Float[ndarray, "_ width"]:
    """Return the features as float16, or unchanged if one is too large for that."""
    if not np.isfinite(features).all():
        raise ValueError(
            f"the {encoder.spec.arch} encoder gives features that are not finite; check its weights"
        )
    with np.errstate(over="ignore"):
        half = features.astype(np.float16)
    return half if np.isfinite(half).all() else features


def _listing(samples: Samples) -> str:
    """Return the hash of the images' names and sizes; for shards of where they lie in which."""
    if samples.spans is not None:
        sizes: Int[ndarray, "images n"] = samples.spans
    else:
        starts = range(0, len(samples), CHUNK)
        with ThreadPoolExecutor(16) as pool:  # each size waits for the disk
            sizes = np.concatenate(list(pool.map(lambda at: _sizes(samples, at), starts)))
    digest = hashlib.sha256(repr(samples.shards).encode())
    digest.update("\n".join(map(samples.short_name, range(len(samples)))).encode())
    digest.update(np.ascontiguousarray(sizes).tobytes())
    return digest.hexdigest()


def _sizes(samples: Samples, start: int) -> Int[ndarray, "images 1"]:
    """Return the bytes of a part's files."""
    chosen = range(start, min(start + CHUNK, len(samples)))
    return np.array([[Path(samples.name(index)).stat().st_size] for index in chosen])


class _Cache:
    """The folder of one key; whatever goes wrong in it costs time and never a result."""

    def __init__(self, key: str) -> None:
        self.root = cache_folder() / "features"
        self.folder = self.root / key
        self.failed = False

    def held(self, count: int, width: int) -> dict[int, Float[ndarray, "_ width"]]:
        """Return the whole parts that are there."""
        found = {}
        for number in range(-(-count // CHUNK)):
            try:
                part = np.load(self._path(number), mmap_mode="r")
            except (OSError, ValueError, EOFError):
                continue  # not there yet, or damaged: computed again
            if part.shape == (min(CHUNK, count - number * CHUNK), width):
                found[number] = part
        with contextlib.suppress(OSError):  # used again; nothing depends on that being noted
            os.utime(self.folder)
        return found

    def make_room(self, needed: int) -> None:
        """Remove the features unused for longest until that many bytes more fit."""
        if not needed:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            sizes = {folder: _bytes_in(folder) for folder in self.root.iterdir()}
            room = MOST_BYTES - needed - sizes.pop(self.folder, 0)
            if room < 0:
                self._fail(f"{needed / 2**30:.2f} GiB do not fit into {MOST_BYTES / 2**30:.2f} GiB")
                return
            for folder in sorted(sizes, key=lambda folder: folder.stat().st_mtime):
                if sum(sizes.values()) <= room:
                    break
                size = sizes.pop(folder)
                shutil.rmtree(folder, ignore_errors=True)
                log.info("cached features %s: %d bytes removed", folder.name, size)
        except OSError as error:
            self._fail(str(error))

    def keep(self, number: int, values: Float[ndarray, "_ width"]) -> Float[ndarray, "_ width"]:
        """Write the part and return it from there, or unchanged where it cannot be written."""
        if self.failed:
            return values
        stream = io.BytesIO()
        np.save(stream, values)
        try:
            write_bytes(self._path(number), stream.getbuffer())
            return np.load(self._path(number), mmap_mode="r")
        except OSError as error:
            self._fail(str(error))
            return values

    def _fail(self, why: str) -> None:
        """Say once that features are not kept."""
        self.failed = True
        log.warning(
            "features are not kept in %s and stay in memory: %s; free space there, or set "
            "XDG_CACHE_HOME to another disk, to keep them for the next task",
            self.folder,
            why,
        )

    def _path(self, number: int) -> Path:
        """Return the file of a part."""
        return self.folder / f"{number:06d}.npy"


def _bytes_in(folder: Path) -> int:
    """Return the size of the files in a folder; 0 if it is gone."""
    try:
        return sum(entry.stat().st_size for entry in os.scandir(folder))
    except OSError:
        return 0
