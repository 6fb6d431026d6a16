"""Encoders by name: timm's models and Hugging Face's repositories, where there is a network."""

import difflib
import tempfile
from pathlib import Path

import timm
import torch
from huggingface_hub import snapshot_download
from safetensors.torch import save_file
from torch import nn

from mae_bench.kit.encoder import load_exactly
from mae_bench.kit.foreign.conversion import keep
from mae_bench.kit.foreign.importing import Imported, ImportOptions, import_encoder
from mae_bench.kit.randomness import generator
from mae_bench.kit.vit import VisionTransformer

WANTED = ("config.json", "preprocessor_config.json", "model.safetensors", "pytorch_model.bin")


def fetch(name: str, out: Path) -> str:
    """Fetch timm:NAME or hf:REPOSITORY, write it to `out` as our encoder file; return a sentence.

    Both libraries keep what they fetched in their own cache and take it from there the next time.
    Raises ValueError if there is no such model, no network, or if the model is no plain ViT.
    """
    source, _, model = name.partition(":")
    imported = _from_timm(model) if source == "timm" else _from_hugging_face(model)
    return keep(name, imported, out)


def _from_timm(model: str) -> Imported:
    """Return a model of timm with its pretrained weights and pixel statistics."""
    known = timm.list_models(pretrained=True)
    if not timm.is_model(model.partition(".")[0]):
        near = difflib.get_close_matches(model, known, n=1)
        hint = f"; did you mean timm:{near[0]}?" if near else ""
        raise ValueError(f"timm has no model {model!r}{hint}")
    try:
        vit = timm.create_model(model, pretrained=True, num_classes=0)
    except Exception as error:  # what a missing network raises differs by version and transport
        raise ValueError(_unreachable(f"timm:{model}", error)) from error
    blocks = getattr(vit, "blocks", None)
    attention = getattr(blocks[0], "attn", None) if blocks else None
    config = vit.pretrained_cfg
    options = ImportOptions(
        format="timm",
        heads=getattr(attention, "num_heads", None),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{model}.safetensors"
        save_file({k: v.contiguous().clone() for k, v in vit.state_dict().items()}, path)
        imported = import_encoder(path, options)
    _check_function(model, vit.eval(), imported)
    return imported


@torch.no_grad()
def _check_function(model: str, vit: nn.Module, imported: Imported) -> None:
    """Raise ValueError unless the encoder gives timm's own features on a random image.

    Tensors alone do not show everything, such as norms that follow the branches.
    """
    spec = imported.encoder.spec
    ours = VisionTransformer(spec).eval()
    load_exactly(ours, imported.encoder.state)
    image = torch.randn(1, 3, spec.image_size, spec.image_size, generator=generator(0, "image"))
    theirs = vit.forward_features(image)
    difference = float((ours(image) - theirs).abs().max() / theirs.abs().max())
    if difference > 1e-3:
        raise ValueError(
            f"timm:{model} computes something else than a plain ViT with these tensors (features "
            f"differ by {100 * difference:.0f} %); pass another model"
        )


def _from_hugging_face(repository: str) -> Imported:
    """Return the model in a repository of the Hugging Face hub."""
    try:
        folder = Path(snapshot_download(repository, allow_patterns=list(WANTED)))
    except Exception as error:  # as above
        raise ValueError(_unreachable(f"hf:{repository}", error)) from error
    files = [folder / name for name in WANTED[2:] if (folder / name).exists()]
    if not files:
        raise ValueError(
            f"hf:{repository} has neither model.safetensors nor pytorch_model.bin; one in several "
            "parts must be joined first"
        )
    return import_encoder(files[0])


def _unreachable(name: str, error: Exception) -> str:
    """Return the message for a model that did not come."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return (
        f"{name} could not be fetched ({reason}); where there is no network, fetch the file on "
        "another machine and pass its path"
    )
