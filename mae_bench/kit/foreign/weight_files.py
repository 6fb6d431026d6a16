"""Named tensors read from foreign files of weights, without running anything that lies in them."""

import argparse
import codecs
import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".tar")
SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
DEEPEST = 8
"""Levels of dictionaries that are searched for tensors."""
TRAINING_STATE = {
    "optimizer": "the optimiser's state",
    "optimizers": "the optimiser's state",
    "optimizer_states": "the optimiser's state",
    "optim": "the optimiser's state",
    "lr_scheduler": "the schedule's state",
    "lr_schedulers": "the schedule's state",
    "scheduler": "the schedule's state",
    "param_schedulers": "the schedule's state",
    "scaler": "the loss scaler's state",
    "loss_scaler": "the loss scaler's state",
    "amp": "the loss scaler's state",
    "dino_loss": "the loss's state",
    "ibot_loss": "the loss's state",
    "rng_state": "the random generator's state",
    "callbacks": "the trainer's state",
    "loops": "the trainer's state",
    "message_hub": "the trainer's state",
    "args": "training options",
    "cfg": "training options",
    "config": "training options",
    "hyper_parameters": "training options",
    "meta": "training options",
}
"""Parts of a training checkpoint that are no weights -> what they are."""


@dataclass(frozen=True)
class WeightFile:
    """What a file of weights holds."""

    path: Path
    tensors: dict[str, Tensor]
    """By name; dictionaries around them are part of the name: `model.cls_token`."""
    left: tuple[tuple[str, str], ...] = ()
    """(name, what it is) of parts that are no weights."""
    metadata: dict[str, str] = field(default_factory=dict)
    """A safetensors file's header."""

    def beside(self, name: str) -> dict[str, Any]:
        """Return the JSON object in the file of that name in the same folder, {} if none is there.

        Raises ValueError, naming the file, if it is no JSON object.
        """
        path = self.path.parent / name
        if not path.is_file():
            return {}
        try:
            value = json.loads(path.read_text())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no JSON: {error}; mend or remove it") from error
        if not isinstance(value, dict):
            raise ValueError(
                f"{path} holds a {type(value).__name__}, expected a JSON object; mend or remove it"
            )
        return value


def read_weights(path: Path) -> WeightFile:
    """Return the tensors of a .safetensors, .pth, .pt, .bin, .ckpt or .pth.tar file.

    Pickles are read with weights_only and a short list of allowed types, so nothing in them runs.
    Raises ValueError, naming the file and the next step, if it cannot be read whole.
    """
    _check_file(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in PICKLES:
        content = _unpickled(path)
        known = TRAINING_STATE if isinstance(content, dict) else {}
        left = tuple((key, what) for key, what in known.items() if key in content)
        kept = {k: v for k, v in content.items() if k not in known} if known else content
        tensors = dict(_named_tensors(path, kept))
        if not tensors:
            raise ValueError(
                f"{path} holds no tensors but a {type(content).__name__}; expected a state dict, "
                "as torch.save(model.state_dict(), FILE) writes it"
            )
        return WeightFile(path, tensors, left)
    raise ValueError(
        f"{path} has the suffix {path.suffix!r}; expected .safetensors, {', '.join(PICKLES)}: "
        "save the weights as one of these"
    )


def _check_file(path: Path) -> None:
    """Raise ValueError unless the path is one whole, non-empty file."""
    try:
        mode = os.stat(path)  # noqa: PTH116 - Path.stat raises RuntimeError for a loop of links
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError(
                f"{path} is a symbolic link in a loop; pass the file itself"
            ) from error
        raise ValueError(
            f"{path}: no such encoder file; pass the path of an encoder.safetensors or of a "
            "checkpoint"
        ) from error
    if stat.S_ISDIR(mode.st_mode):
        raise ValueError(
            f"{path} is a folder; pass the file of weights in it, such as {path}/model.safetensors"
        )
    if not stat.S_ISREG(mode.st_mode):
        raise ValueError(f"{path} is no regular file; pass a file of weights")
    if path.name.endswith(".index.json") or SHARD.search(path.name):
        raise ValueError(
            f"{path} is one part of a checkpoint in several shards; load it with its library and "
            "save it as one file (transformers: save_pretrained with max_shard_size='100GB')"
        )
    if mode.st_size == 0:
        kind = "safetensors file" if path.suffix == ".safetensors" else "file of weights"
        raise ValueError(f"{path} is not a whole {kind}: it is empty; copy it again")


def _read_safetensors(path: Path) -> WeightFile:
    """Return the tensors and the header of a safetensors file."""
    try:
        with safe_open(path, framework="pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - no mapping
            return WeightFile(path, tensors, metadata=stream.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is not a whole safetensors file: {error}; copy it again"
        ) from error


def _unpickled(path: Path) -> Any:
    """Return the content of a pickle that holds tensors and plain values alone."""
    numpy_scalar = np.float64(0).__reduce__()[0]
    allowed = [
        argparse.Namespace,  # MAE, DINO and DeiT keep their options so
        (numpy_scalar, "numpy.core.multiarray.scalar"),  # accuracies, as numpy 1 wrote them
        (numpy_scalar, "numpy._core.multiarray.scalar"),
        (codecs.encode, "_codecs.encode"),
        np.dtype,
        *(type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "?")),
    ]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises nearly anything
        found = re.search(r"GLOBAL (\S+)", str(error))
        first = (str(error) or "it ends early").split("\n")[0]
        reason = f"it holds {found[1]}, which would be run" if found else first
        raise ValueError(
            f"{path} cannot be read as plain weights ({reason}); copy it again if it is damaged, "
            "or save its state dict alone: torch.save(model.state_dict(), FILE)"
        ) from error


def _named_tensors(path: Path, value: Any, name: str = "", depth: int = 0) -> Iterator[Any]:
    """Yield (dotted name, tensor) of all tensors in nested dictionaries and lists."""
    if isinstance(value, Tensor):
        yield name or "tensor", value.detach()
    elif isinstance(value, dict | list | tuple):
        if depth == DEEPEST:
            raise ValueError(
                f"{path} nests more than {DEEPEST} levels at {name}; expected a state dict, as "
                "torch.save(model.state_dict(), FILE) writes it"
            )
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in items:
            yield from _named_tensors(path, part, f"{name}.{key}" if name else str(key), depth + 1)
