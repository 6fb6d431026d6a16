"""Encoders imported from checkpoints of other libraries, with proof that every tensor arrived."""

import fnmatch
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from mae_bench.kit.encoder import OWN_HEADER, Encoder, encoder_shapes, own_spec
from mae_bench.kit.foreign.architecture import Claims, claims_of, infer_spec
from mae_bench.kit.foreign.arrival import Arrival, Dropped, listed
from mae_bench.kit.foreign.assembling import REMOVED, assemble
from mae_bench.kit.foreign.formats import Format, Found, detect, find_encoder
from mae_bench.kit.foreign.sorting import Sorted, sort_tensors
from mae_bench.kit.foreign.strangers import refuse_strangers
from mae_bench.kit.foreign.weight_files import WeightFile, read_weights
from mae_bench.kit.spec import EncoderSpec

CLASSIFIER_HEADER = "mae_bench.classifier"
"""In the header of a fine-tuned classifier of this project; see kit/classifier_file.py."""
PRETRAINED_HEADER = "mae_bench.mae"
"""In the header of a whole autoencoder of this project; see pretrain/pretrained.py."""
OWN = "mae-bench"
DECODER = r"decoder_(embed|blocks|pred)\."
MODEL_TYPES = {
    "vit_mae": "mae",
    "dinov2": "dinov2",
    "dinov2_with_registers": "dinov2",
    "beit": "beit",
}
"""transformers' model_type -> origin."""


@dataclass(frozen=True)
class ImportOptions:
    """What the user says of a foreign checkpoint; what is not said is read off the file."""

    format: str | None = None
    """A name of `formats.FORMATS`; by the tensors if not given."""
    heads: int | None = None
    origin: str | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    grid: tuple[int, int] | None = None
    """Rows and columns of positions that are not square; they are resized to a square grid."""
    drop: tuple[str, ...] = ()
    """Beginnings of tensors' names, or patterns with *, that may be left out."""


NOTHING_SAID = ImportOptions()


@dataclass(frozen=True)
class Imported:
    """An encoder from elsewhere."""

    encoder: Encoder
    arrival: Arrival
    format: str
    head: dict[str, Tensor] | None = None
    """weight and bias of a linear classification head, and where it follows a norm of the pooled
    patches fc_norm.weight and fc_norm.bias; None if the file has no such head."""


def import_encoder(path: Path, options: ImportOptions = NOTHING_SAID) -> Imported:
    """Return the encoder in any file of weights, and what became of every tensor in it.

    Raises ValueError, naming the file, the tensors and the next step, if it is no plain ViT, if a
    tensor is unknown or missing, or if one that the features depend on would be lost.
    """
    file = read_weights(path)
    if CLASSIFIER_HEADER in file.metadata:
        raise ValueError(
            f"{path} is a fine-tuned classifier of mae-bench, no encoder; pass the "
            "encoder.safetensors that it was fine-tuned from"
        )
    if OWN_HEADER in file.metadata:
        return _own(file, options)
    tensors, allowed = _without(file, options.drop)
    refuse_strangers(str(path), tensors)
    found = find_encoder(str(path), tensors, PRETRAINED_HEADER in file.metadata)
    fmt = detect(str(path), found, options.format)
    what = f"{path} (format {fmt.name})"
    sorted_ = sort_tensors(what, found)
    claims = _claims(file, fmt)
    if fmt.name == "mae" and not found.has(DECODER) and options.heads is None:
        _check_unambiguous(what, sorted_.parts.tensors)
    assemble(what, sorted_.parts, options.grid or claims.grid(_patch(found)))
    spec = infer_spec(what, sorted_.parts.tensors, fmt, claims, options.heads)
    spec = _told(spec, _origin(file, found, fmt), sorted_, options)
    left = [Dropped(name, reason) for name, reason in file.left]
    dropped = (*left, *allowed, *sorted_.dropped)
    arrival = _arrival(what, spec, sorted_, dropped)
    _check_whole(what, fmt, sorted_, [part.name for part in allowed])
    below = f" below {found.prefix!r}" if found.prefix else ""
    history = (f"read as {fmt.title}{below}", *_assumed(file, fmt, spec, found), *arrival.history())
    state = {name: sorted_.parts.tensors[name].contiguous() for name in encoder_shapes(spec)}
    encoder = Encoder(spec, state, _sha256(path), history)
    return Imported(encoder, arrival, fmt.name, sorted_.head(spec.width))


def _own(file: WeightFile, options: ImportOptions) -> Imported:
    """Return the encoder in a file of ours, whose spec needs nothing but origin and pixels said."""
    said = (options.format, options.heads, options.grid)
    if any(value is not None for value in said) or options.drop:
        raise ValueError(
            f"{file.path} is an encoder file of mae-bench with a spec of its own; leave out "
            "format, heads, grid and drop"
        )
    spec, history = own_spec(file.path, file.metadata[OWN_HEADER], file.tensors)
    words = {"origin": options.origin, "mean": options.mean, "std": options.std}
    spec = replace(spec, **{name: value for name, value in words.items() if value is not None})
    encoder = Encoder(spec, dict(file.tensors), _sha256(file.path), history)
    return Imported(encoder, Arrival(tuple(file.tensors)), OWN)


def _without(
    file: WeightFile, drop: tuple[str, ...]
) -> tuple[dict[str, Tensor], tuple[Dropped, ...]]:
    """Return the tensors without those that the user lets go, and these.

    Raises ValueError if one of the user's words fits no tensor.
    """
    kept, gone = dict(file.tensors), []
    for word in drop:
        pattern = word if "*" in word else word + "*"
        fitting = [name for name in kept if fnmatch.fnmatchcase(name, pattern)]
        if not fitting:
            raise ValueError(
                f"{file.path}: no tensor's name begins with {word!r}, which was to be dropped; "
                f"found {listed(kept)}"
            )
        gone += [Dropped(name, "dropped at the user's word") for name in fitting]
        kept = {name: tensor for name, tensor in kept.items() if name not in fitting}
    return kept, tuple(gone)


def _told(spec: EncoderSpec, origin: str, sorted_: Sorted, options: ImportOptions) -> EncoderSpec:
    """Return the spec with origin, pooling and pixels; the user's words go first."""
    if sorted_.head(spec.width) is not None:
        origin = "foreign"  # labels were used, and who knows how
    pooled_norm = any(name.startswith("fc_norm.") for name in sorted_.behind)
    return replace(
        spec,
        pool="avg" if pooled_norm else spec.pool,
        origin=options.origin or origin,
        mean=options.mean or spec.mean,
        std=options.std or spec.std,
    )


def _patch(found: Found) -> int:
    """Return the side of a patch in pixels."""
    kernel = found.tensors[found.prefix + found.naming.anchor]
    return kernel.shape[-1] if kernel.ndim == 4 else round((kernel.shape[-1] / 3) ** 0.5)


def _check_unambiguous(what: str, tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError for a ViT-S with MAE's positions, which MoCo v3 gives twelve heads."""
    if tensors["pos_embed"].shape[-1] == 384:
        raise ValueError(
            f"{what}: a ViT-S with sine-cosine positions may be MAE's with 6 heads or MoCo v3's "
            "with 12; say so with --heads"
        )


def _claims(file: WeightFile, fmt: Format) -> Claims:
    """Return what the files beside it say, if the format has such files."""
    if fmt.naming == "transformers":
        return claims_of(file.beside("config.json"), file.beside("preprocessor_config.json"))
    if fmt.naming != "timm":
        return Claims()
    try:
        config = file.beside("config.json")
    except ValueError:  # names like timm's are everywhere, and so are other config.json files
        return Claims()
    return claims_of(config, {}) if "pretrained_cfg" in config else Claims()


def _origin(file: WeightFile, found: Found, fmt: Format) -> str:
    """Return the recipe that made the encoder, where names or config tell, else 'foreign'."""
    if fmt.naming == "transformers":
        model_type = file.beside("config.json").get("model_type")
        if model_type is not None:
            return MODEL_TYPES.get(model_type, "foreign")
    return "mae" if found.has(r"decoder_embed\.") else fmt.origin


def _assumed(file: WeightFile, fmt: Format, spec: EncoderSpec, found: Found) -> tuple[str, ...]:
    """Return what the file leaves unsaid and was taken for likely, for the user to correct."""
    words = []
    if fmt.naming == "transformers" and not file.beside("config.json"):
        words.append(
            f"no config.json beside it: norm eps {spec.norm_eps:g} and {spec.heads} heads assumed"
        )
    if fmt.naming == "transformers" and not file.beside("preprocessor_config.json"):
        words.append(f"no preprocessor_config.json beside it: pixel mean {spec.mean} assumed")
    if fmt.name == "beit" and spec.mean == fmt.mean:
        words.append("pixel mean 0.5 assumed, BEiT's; BEiT v2 took ImageNet's")
    if fmt.name == "mae" and not found.has(DECODER):
        words.append("taken for MAE's by its sine-cosine positions, which MoCo v3 has too")
    return tuple(words)


def _arrival(
    what: str, spec: EncoderSpec, sorted_: Sorted, dropped: tuple[Dropped, ...]
) -> Arrival:
    """Return what became of every tensor; ValueError unless the encoder is whole and finite."""
    shapes, parts = encoder_shapes(spec), sorted_.parts
    extra = [
        source for name in parts.tensors if name not in shapes for source in parts.sources[name]
    ]
    arrival = Arrival(
        matched=tuple(name for name in parts.matched() if name in shapes),
        converted=tuple(part for part in parts.converted() if part.target in shapes),
        dropped=dropped,
        unexpected=(*sorted_.unexpected, *extra),
        missing=tuple(name for name in shapes if name not in parts.tensors),
    )
    problems = [
        f"{title} {listed(names)}"
        for title, names in (("unexpected", arrival.unexpected), ("missing", arrival.missing))
        if names
    ]
    if problems:
        raise ValueError(
            f"{what}: {arrival.coverage:.1f} % of a {spec.arch} encoder arrived; "
            f"{'; '.join(problems)}; pass a whole checkpoint of a plain ViT, another format, or "
            "name what may be lost with drop"
        )
    _check_values(what, shapes, parts.tensors)
    return arrival


def _check_whole(what: str, fmt: Format, sorted_: Sorted, allowed: list[str]) -> None:
    """Raise ValueError if the final norm or the cls token is gone, where the format has them.

    Without them the rest is a whole encoder too, but not the one that was trained. `allowed`: what
    the user let go.
    """
    parts = sorted_.parts
    pooled_norm = "fc_norm.weight" in sorted_.behind
    cls_row = any(REMOVED in notes for notes in parts.how.values())
    for name, gone in (
        ("norm.weight", "norm.weight" not in parts.tensors and not pooled_norm),
        ("cls_token", cls_row),
    ):
        if gone and name not in fmt.may_lack and not any(n.endswith(name) for n in allowed):
            raise ValueError(
                f"{what} lacks {name}, which encoders of this format have; pass a whole checkpoint"
            )


def _check_values(
    what: str, shapes: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor]
) -> None:
    """Raise ValueError for the first tensor of another shape, or with NaN or infinite values."""
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape:
            raise ValueError(
                f"{what}: {name} is {list(tensors[name].shape)}, expected {list(shape)}; this ViT "
                "has MLPs four times as wide as its tokens: pass an encoder of that shape"
            )
        if not tensors[name].isfinite().all():
            raise ValueError(
                f"{what}: {name} holds NaN or infinite values, so its training had diverged or the "
                "file is damaged; pass an earlier checkpoint"
            )


def _sha256(path: Path) -> str:
    """Return the hash of the file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
