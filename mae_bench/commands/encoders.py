"""Encoders made elsewhere: added to the store with proof, shown, listed, exported."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from mae_bench.cli import OK, USAGE
from mae_bench.commands.options import Place, parse
from mae_bench.core.names import check_name
from mae_bench.core.recipe import unknown
from mae_bench.suite.encoders import FETCHED, FOLDER, added_encoders, find_encoder, spec_in

HELP = """\
usage: mae-bench encoders add FILE [--name NAME] [--heads N] [--drop PREFIX ...] ...
       mae-bench encoders show FILE
       mae-bench encoders list
       mae-bench encoders export ENCODER --format timm|mae|hf|detectron2|mmseg -o OUT

FILE is a checkpoint of facebookresearch/mae, timm, DeiT, Hugging Face, DINO, DINOv2, MoCo v3, BEiT,
mmpretrain, detectron2, lightly or mae-bench: what it is is seen from its tensors. Every tensor is
accounted for in a table; a checkpoint that does not arrive completely is refused.
"""
Format = Literal["timm", "mae", "hf", "detectron2", "mmseg"]


@dataclass(frozen=True, kw_only=True)
class Hints:
    """What the tensors alone may not say."""

    format: str = ""
    """The format, where it is not recognised: docs/encoders.md lists them."""
    heads: int = 0
    """Attention heads, where the width is unusual."""
    grid: tuple[int, int] | None = None
    """Rows and columns of a position embedding that is not square."""
    mean: tuple[float, float, float] | None = None
    """Mean that images were normalised with, of values in [0, 1]."""
    std: tuple[float, float, float] | None = None
    """Their deviation."""
    origin: str = ""
    """How it was pretrained: mae, supervised, dino ...; tasks take published values by it."""
    drop: tuple[str, ...] = ()
    """Beginnings of tensor names that may be lost though they change the features."""

    def options(self) -> Any:
        """Return the importer's options."""
        return import_module("mae_bench.kit.foreign.importing").ImportOptions(
            format=self.format or None,
            heads=self.heads or None,
            origin=self.origin or None,
            mean=self.mean,
            std=self.std,
            grid=self.grid,
            drop=self.drop,
        )


@dataclass(frozen=True)
class Show:
    """The checkpoint to look at."""

    file: tyro.conf.Positional[Path]
    """A checkpoint file."""
    hints: Hints = field(default_factory=Hints)


@dataclass(frozen=True)
class Add:
    """The checkpoint to add."""

    file: tyro.conf.Positional[Path]
    """A checkpoint file."""
    name: str = ""
    """What it is called from now on wherever an encoder is named; default: the file's name."""
    hints: Hints = field(default_factory=Hints)
    place: Place = field(default_factory=Place)


@dataclass(frozen=True)
class Listing:
    """List the encoders that were added to the store."""

    place: Place = field(default_factory=Place)


@dataclass(frozen=True)
class Export:
    """The encoder to write for another library."""

    encoder: tyro.conf.Positional[str]
    """A file, a name that `encoders add` gave, timm:NAME or hf:NAME."""
    format: Format
    """The library that shall read it."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """File to write; a folder for hf."""
    place: Place = field(default_factory=Place)


def encoders(words: list[str]) -> int:
    """Run `encoders add`, `show`, `list` or `export`; return the exit code."""
    if not words or words[0] in ("-h", "--help"):
        print(HELP)
        print("Example: mae-bench encoders add mae_pretrain_vit_base.pth --name mae-base")
        return OK if words else USAGE
    actions = {"add": add, "show": show, "list": listing, "export": export}
    if words[0] not in actions:
        raise ValueError(unknown("action of encoders", words[0], actions))
    return actions[words[0]](words[1:])


def add(words: list[str]) -> int:
    """Convert a checkpoint into the store under a name, and print how each tensor arrived."""
    options = parse(Add, "encoders add", words, add.__doc__ or "")
    name = options.name or options.file.stem
    if str(options.file).startswith(FETCHED):
        raise ValueError(f"{options.file} needs no adding: pass it wherever an encoder is named")
    what = "an encoder's name (--name, or else the file's)"
    check_name(what, name)
    out = options.place.read().store / FOLDER / f"{name}.safetensors"
    imported = _import(options.file, options.hints)
    write: Callable[[Any, Path], bool] = import_module(
        "mae_bench.kit.foreign.conversion"
    ).write_once
    fresh = write(imported, out)
    print(_proof(imported))
    print(f"\n{name}: {out}" + ("" if fresh else " (there already, the same)"))
    print(f"next: mae-bench transfer imagenet_linear --encoder {name} --imagenet DIR")
    return OK


def show(words: list[str]) -> int:
    """Print what a checkpoint is and how each tensor would arrive; writes nothing."""
    options = parse(Show, "encoders show", words, show.__doc__ or "")
    print(_proof(_import(options.file, options.hints)))
    return OK


def listing(words: list[str]) -> int:
    """Print the encoders in the store."""
    store = parse(Listing, "encoders list", words, Listing.__doc__ or "").place.read().store
    added = added_encoders(store)
    for name, path in added.items():
        spec = spec_in(path)
        about = "no encoder file of mae-bench" if spec is None else _line(spec)
        print(f"{name:24} {about}")
    if not added:
        print(f"no encoders in {store / FOLDER}; add one with: mae-bench encoders add FILE")
    return OK


def export(words: list[str]) -> int:
    """Write an encoder as another library reads it."""
    options = parse(Export, "encoders export", words, export.__doc__ or "")
    path = find_encoder(options.encoder, options.place.read().store)
    encoder = import_module("mae_bench.kit.encoder").read_encoder(path)
    write: Callable[[Any, str, Path], tuple[str, ...]]
    write = import_module("mae_bench.kit.foreign.export").export_encoder
    notes = write(encoder, options.format, options.out)
    print("\n".join([f"{options.format}: {options.out}", *(f"  {note}" for note in notes)]))
    return OK


def _import(file: Path, hints: Hints) -> Any:
    """Return the imported encoder with its proof."""
    return import_module("mae_bench.kit.foreign.importing").import_encoder(file, hints.options())


def _proof(imported: Any) -> str:
    """Return what was recognised and the table of arrivals."""
    spec = dataclasses.asdict(imported.encoder.spec)
    lines = [f"format      {imported.format}", f"encoder     {_line(spec)}"]
    mean, std = (", ".join(f"{v:g}" for v in spec[key]) for key in ("mean", "std"))
    lines += [f"pixels      mean {mean}, deviation {std}; norm eps {spec['norm_eps']:g}"]
    lines += [f"            {note}" for note in imported.encoder.history]
    return "\n".join([*lines, "", imported.arrival.table()])


def _line(spec: dict[str, Any]) -> str:
    """Return an encoder's shape in a line."""
    parts = [
        str(spec["arch"]),
        f"width {spec['width']}, depth {spec['depth']}, {spec['heads']} heads",
        f"patch {spec['patch_size']}, {spec['image_size']} pixels",
    ]
    parts += [f"{spec['num_registers']} registers"] if spec.get("num_registers") else []
    words = {"layer_scale": "LayerScale", "relative_positions": "relative positions"}
    parts += [word for key, word in words.items() if spec.get(key)]
    absent = {
        "class_token": "no cls token",
        "qkv_bias": "no qkv bias",
        "absolute_positions": "no absolute positions",
        "final_norm": "no final norm",
    }
    parts += [word for key, word in absent.items() if not spec.get(key, True)]
    return ", ".join([*parts, f"origin {spec['origin']}"])
