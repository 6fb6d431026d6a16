"""The one file that pretraining hands to transfer: spec and weights in one canonical naming.

The canonical names are timm's: cls_token, reg_token, pos_embed (row 0 is the cls row, registers
have none), patch_embed.proj.*, blocks.N.{norm1,attn.qkv,attn.proj,norm2,mlp.fc1,mlp.fc2}.*, norm.*,
and where the spec says so blocks.N.{ls1,ls2}.gamma and blocks.N.attn.relative_position_bias_table.
"""

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from mae_bench.core.files import write_bytes
from mae_bench.kit.spec import EncoderSpec

State = Mapping[str, Tensor]

OWN_HEADER = "mae_bench.encoder"
"""In the header of an encoder file: the spec as JSON."""


@dataclass(frozen=True)
class Encoder:
    """An encoder file in memory."""

    spec: EncoderSpec
    state: dict[str, Tensor]
    sha256: str
    """Of the file's bytes."""
    history: tuple[str, ...] = ()
    """What was done to it since it was read from that file, in words for a result's provenance."""


def encoder_shapes(spec: EncoderSpec) -> dict[str, tuple[int, ...]]:
    """Return every canonical tensor name with its shape."""
    d, p = spec.width, spec.patch_size
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, d),
        "reg_token": (1, spec.num_registers, d),
        "pos_embed": (1, int(spec.class_token) + spec.grid**2, d),
        "patch_embed.proj.weight": (d, 3, p, p),
        "patch_embed.proj.bias": (d,),
        "norm.weight": (d,),
        "norm.bias": (d,),
    }
    for i in range(spec.depth):
        block = {
            "norm1.weight": (d,),
            "norm1.bias": (d,),
            "attn.qkv.weight": (3 * d, d),
            "attn.qkv.bias": (3 * d,),
            "attn.proj.weight": (d, d),
            "attn.proj.bias": (d,),
            "attn.relative_position_bias_table": ((2 * spec.grid - 1) ** 2 + 3, spec.heads),
            "ls1.gamma": (d,),
            "norm2.weight": (d,),
            "norm2.bias": (d,),
            "mlp.fc1.weight": (4 * d, d),
            "mlp.fc1.bias": (4 * d,),
            "mlp.fc2.weight": (d, 4 * d),
            "mlp.fc2.bias": (d,),
            "ls2.gamma": (d,),
        }
        shapes |= {f"blocks.{i}.{name}": shape for name, shape in block.items()}
    absent = _absent(spec)
    return {name: shape for name, shape in shapes.items() if not name.endswith(absent)}


def _absent(spec: EncoderSpec) -> tuple[str, ...]:
    """Return how the names end that an encoder of that spec lacks."""
    parts = {
        "cls_token": spec.class_token,
        "reg_token": spec.num_registers > 0,
        "pos_embed": spec.absolute_positions,
        "attn.qkv.bias": spec.qkv_bias,
        "attn.relative_position_bias_table": spec.relative_positions,
        "ls1.gamma": spec.layer_scale,
        "ls2.gamma": spec.layer_scale,
    }
    absent = [name for name, there in parts.items() if not there]
    return tuple(absent + ([] if spec.final_norm else ["norm.weight", "norm.bias"]))


def write_encoder(
    path: Path, spec: EncoderSpec, state: State, history: tuple[str, ...] = ()
) -> None:
    """Write the encoder file, whole or not at all; the state must be exactly the spec's tensors.

    The same values give the same bytes. `history` says how it was converted, if it was.
    """
    write_bytes(path, encoder_bytes(str(path), spec, state, history))


def encoder_bytes(
    what: str, spec: EncoderSpec, state: State, history: tuple[str, ...] = ()
) -> bytes:
    """Return the content of an encoder file; ValueError if the state is not exactly the spec's."""
    check_state(what, spec, state)
    tensors = {name: tensor.detach().cpu().float().contiguous() for name, tensor in state.items()}
    told = {"history": list(history)} if history else {}
    # One entry: safetensors writes several in an order of its own, so bytes would differ.
    return save(tensors, {OWN_HEADER: json.dumps(dataclasses.asdict(spec) | told)})


def read_encoder(path: Path) -> Encoder:
    """Return the encoder in a file of ours, or in a checkpoint of another library, converted.

    Raises ValueError, naming the file, if it is missing, truncated, no encoder, or if a tensor is
    missing, unexpected or of another shape than expected.
    """
    from mae_bench.kit.foreign.importing import import_encoder  # which itself makes Encoders

    return import_encoder(path).encoder


def check_state(what: str, spec: EncoderSpec, state: State) -> None:
    """Raise ValueError listing the first missing, unexpected and differently shaped tensors."""
    expected = encoder_shapes(spec)
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    problems = [f"missing {name}" for name in expected if name not in found]
    problems += [f"unexpected {name}" for name in found if name not in expected]
    problems += [
        f"{name} is {list(found[name])}, expected {list(shape)}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if problems:
        raise ValueError(f"{what} is not a {spec.arch} encoder: {_first(problems)}")


def load_exactly(
    model: nn.Module, state: State, new: Collection[str] = (), dropped: Collection[str] = ()
) -> None:
    """Load state into model with every tensor accounted for.

    `new`: prefixes of model tensors that the state does not have, kept as initialised.
    `dropped`: prefixes of state tensors that the model has no place for.
    Raises ValueError with both lists if anything else is missing, left over or of another shape,
    and if after loading any loaded tensor differs from the state's.
    """
    given = {n: t for n, t in state.items() if not n.startswith(tuple(dropped))}
    own = {n: t for n, t in model.state_dict().items() if not n.startswith(tuple(new))}
    missing = [f"missing {name}" for name in own if name not in given]
    unexpected = [f"unexpected {name}" for name in given if name not in own]
    shapes = [
        f"{name} is {list(given[name].shape)}, the model has {list(tensor.shape)}"
        for name, tensor in own.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if missing or unexpected or shapes:
        lists = "; ".join(_first(part) for part in (missing, unexpected, shapes) if part)
        raise ValueError(f"the weights do not fit {type(model).__name__}: {lists}")
    model.load_state_dict(given, strict=False)
    after = model.state_dict()
    for name, tensor in given.items():
        if not torch.equal(after[name].cpu(), tensor.to(after[name].dtype).cpu()):
            raise ValueError(f"{name} did not arrive in {type(model).__name__}: values differ")


def own_spec(path: Path, header: str, state: State) -> tuple[EncoderSpec, tuple[str, ...]]:
    """Return spec and history in the header of a file of ours, which its tensors must fit.

    Raises ValueError, naming the file, if they do not.
    """
    try:
        fields = json.loads(header)
        history = tuple(fields.pop("history", ()))
        spec = EncoderSpec(**fields | {k: tuple(fields[k]) for k in ("mean", "std")})
    except (TypeError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} has an encoder spec this version cannot read: {error}") from error
    check_state(str(path), spec, state)
    return spec, history


def _first(problems: list[str], limit: int = 5) -> str:
    """Return the first problems, and how many more there are."""
    more = f" and {len(problems) - limit} more" if len(problems) > limit else ""
    return ", ".join(problems[:limit]) + more
