"""Encoders made elsewhere: found by file or name, converted once, kept in the store."""

import hashlib
import json
import os
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from mae_bench.core.names import LONGEST

FOLDER = "encoders"
"""Below the store: what was added by name, and in `converted` what was converted on the way."""
FETCHED = ("timm:", "hf:")
"""How the names of encoders begin that are fetched over the network."""
BESIDE = ("config.json", "preprocessor_config.json")
"""Files beside the weights that the importer reads heads, epsilon and pixel statistics from."""
CONVERSION = 1
"""Raised when the importer would give other tensors, so that files are converted anew."""

Say = Callable[[str], None]


def find_encoder(name: str, store: Path, folder: Path = Path(), say: Say = print) -> Path:
    """Return the encoder file that is meant, converting or fetching what is not one of ours.

    `name` is a file (relative to `folder`), a name that `encoders add` gave, timm:NAME or hf:NAME.
    A conversion is kept in the store and not made twice; `say` gets what it did. Raises ValueError
    if nothing is found, and if a file is no encoder or cannot be converted completely.
    """
    path, added = folder / name, added_encoders(store)
    if name.startswith(FETCHED):
        label = f"{name}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        return _kept(store, label, lambda out: _fetch(name, out), say)
    if os.path.isdir(path) and name not in added:  # noqa: PTH112 - any name, also a too long one
        raise ValueError(f"encoder {path} is a folder; pass the file of weights in it")
    if os.path.isfile(path) or (os.path.islink(path) and name not in added):  # noqa: PTH113, PTH114
        if name in added:
            say(f"encoder {name}: the file of that name is taken, not the one added as {name}")
        if spec_in(path):
            return path
        label = f"{path.stem}-{_digest(path)[:16]}"
        return _kept(store, label, lambda out: _convert(path, out), say)
    if name in added:
        return added[name]
    raise ValueError(
        f"no encoder {name}: there is no such file, and no such name was given by `mae-bench "
        f"encoders add` (known: {', '.join(added) or 'none'}); timm:NAME and hf:NAME fetch one"
    )


def added_encoders(store: Path) -> dict[str, Path]:
    """Return the encoders that were added to the store, by name."""
    return {path.stem: path for path in sorted((store / FOLDER).glob("*.safetensors"))}


def spec_in(path: Path) -> dict[str, Any] | None:
    """Return the spec in the header of an encoder file of ours, None for any other file."""
    return _header(path, "mae_bench.encoder")


def classifier_spec(path: Path, task: str) -> dict[str, Any]:
    """Return the encoder's spec in the header of a classifier file that `task` left.

    Raises ValueError with the next step if the file is another, such as a plain encoder.
    """
    if not path.is_file():
        raise ValueError(f"no classifier file {path}; pass --encoder FILE with an existing one")
    spec = (_header(path, "mae_bench.classifier") or {}).get("spec")
    if not isinstance(spec, dict):
        raise ValueError(
            f"{path} is no classifier.safetensors as {task} leaves it; run `mae-bench transfer "
            f"{task} --encoder {path}` first and pass the file in its folder"
        )
    return spec


def spec_of(path: Path) -> dict[str, Any]:
    """Return the encoder's spec in the header of an encoder or classifier file of ours.

    Empty for any other file.
    """
    classifier = _header(path, "mae_bench.classifier") or {}
    return spec_in(path) or classifier.get("spec", {})


def _header(path: Path, key: str) -> dict[str, Any] | None:
    """Return what a safetensors file has under that key, None if it has not."""
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(length, 10_000_000)))
        value = json.loads(header["__metadata__"][key])
        return value if isinstance(value, dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _kept(store: Path, label: str, make: Callable[[Path], str], say: Say) -> Path:
    """Return the store's file of that label, made if there is none yet."""
    safe = re.sub(r"[^0-9A-Za-z.-]", "_", label)[-LONGEST:]  # its end is a digest
    kept = store / FOLDER / "converted" / f"{safe}-v{CONVERSION}.safetensors"
    if not spec_in(kept):
        say(make(kept))
    return kept


def _digest(path: Path) -> str:
    """Return the SHA-256 of the file and of the configs beside it, which say what it does not.

    Raises ValueError if it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
        for name in BESIDE:
            config = path.with_name(name)
            digest.update(config.read_bytes() if config.is_file() else b"-")
    except OSError as error:
        raise ValueError(f"encoder {path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _convert(path: Path, out: Path) -> str:
    """Write our file with the weights of a foreign one; return what was done in a sentence."""
    convert: Callable[[Path, Path], str] = import_module("mae_bench.kit.foreign.conversion").convert
    return convert(path, out)


def _fetch(name: str, out: Path) -> str:
    """Write our file with the weights of a model known by name; return what was done."""
    fetch: Callable[[str, Path], str] = import_module("mae_bench.kit.foreign.fetch").fetch
    return fetch(name, out)
