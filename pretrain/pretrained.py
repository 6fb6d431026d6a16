"""The whole masked autoencoder in one file, decoder included: what pictures are made from."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mae_bench.core.files import ENCODER, write_bytes
from mae_bench.core.recipe import build, fields_of

if TYPE_CHECKING:
    from pretrain.mae_model import MAEObjective

PRETRAINED = "pretrained.safetensors"
HEADER = "mae_bench.mae"


def save_pretrained(model: "MAEObjective", path: Path) -> None:
    """Write encoder and decoder with the recipe's fields, whole or not at all."""
    state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_bytes(path, save(state, {HEADER: json.dumps(fields_of(model.recipe))}))


def load_pretrained(path: Path) -> "MAEObjective":
    """Return the autoencoder in the file, or in the one beside the given encoder.safetensors.

    Raises ValueError, naming the file, if it is missing or not one of these.
    """
    from mae_bench.kit.encoder import load_exactly
    from pretrain.mae import MAE
    from pretrain.mae_model import MAEObjective

    if path.name == ENCODER:
        path = path.with_name(PRETRAINED)
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file; a reconstruction needs the decoder, which mae-bench pretrain "
            f"mae leaves in {PRETRAINED} beside the encoder"
        )
    try:
        with safe_open(path, framework="pt") as stream:
            header = (stream.metadata() or {}).get(HEADER)
            state = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    if header is None:
        raise ValueError(f"{path} holds no masked autoencoder; expected a {PRETRAINED} made here")
    recipe = build(MAE, json.loads(header))
    assert isinstance(recipe, MAE)
    model = MAEObjective(recipe)
    load_exactly(model, state)
    return model.eval()
