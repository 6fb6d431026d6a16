"""The tensors of a foreign checkpoint sorted: the encoder's, those known to be none, the rest."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mae_bench.kit.foreign.arrival import Dropped
from mae_bench.kit.foreign.assembling import Parts, check_index
from mae_bench.kit.foreign.formats import Found
from mae_bench.kit.foreign.naming import DECOMPOSED, HEAD, INDEX, TABLE, reason_to_drop


@dataclass(frozen=True)
class Sorted:
    """The tensors of a file, sorted by what becomes of them."""

    parts: Parts = field(default_factory=lambda: Parts({}, {}))
    dropped: list[Dropped] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    behind: dict[str, Tensor] = field(default_factory=dict)
    """weight and bias of what may be a linear head, fc_norm.* of the norm before it."""

    def head(self, width: int) -> dict[str, Tensor] | None:
        """Return the linear head on features of that width, None if there is none."""
        weight = self.behind.get("weight")
        if weight is None or weight.ndim != 2 or weight.shape[1] != width:
            return None
        return {"bias": torch.zeros(len(weight))} | self.behind


def sort_tensors(what: str, found: Found) -> Sorted:
    """Return what becomes of each tensor: part of the encoder, known to be none, or unknown."""
    result = Sorted()
    for name, tensor in found.tensors.items():
        copy = next((why for prefix, why in found.copies.items() if name.startswith(prefix)), None)
        if copy is not None:
            result.dropped.append(Dropped(name, copy))
            continue
        inside = name.startswith(found.prefix)
        inner = name.removeprefix(found.prefix)
        target = found.naming.intermediate(inner) if inside else _outside(name, found)
        if target is not None:
            _put(what, result.parts, target, (inner, tensor))
        else:
            _set_aside(what, result, (name, inner, inside), found)
    if found.naming.name == "openmmlab":
        _drop_neutral(result, found.prefix)
    return result


def _drop_neutral(result: Sorted, prefix: str) -> None:
    """Leave out relative positions of zero and LayerScale of one, which change nothing.

    mmsegmentation's MAE backbone has both in every block, and starts with them.
    """
    tensors = result.parts.tensors
    for ending, neutral, reason in (
        (TABLE, 0.0, "relative positions, all zero"),
        (".gamma", 1.0, "LayerScale, all one"),
    ):
        names = [name for name in tensors if name.endswith(ending)]
        if all((tensors[name] == neutral).all() for name in names):
            for name in names:
                del tensors[name]
                source = result.parts.sources.pop(name)[0]
                result.dropped.append(Dropped(prefix + source, reason))


def _outside(name: str, found: Found) -> str | None:
    """Return the final norm that transformers keeps beside BEiT in masked modelling, else None."""
    if found.naming.name == "transformers" and found.has(r"(^|\.)lm_head\."):
        return found.naming.intermediate(name) if name.startswith("layernorm.") else None
    return None


def _put(what: str, parts: Parts, target: str, source: tuple[str, Tensor]) -> None:
    """Add one tensor to the encoder's; ValueError if another already took its place."""
    if target in parts.tensors:
        raise ValueError(
            f"{what} has two tensors for {target}: {parts.sources[target][0]} and {source[0]}; "
            "name the one to leave out with drop"
        )
    parts.tensors[target], parts.sources[target] = source[1], (source[0],)


def _set_aside(what: str, result: Sorted, name: tuple[str, str, bool], found: Found) -> None:
    """Sort a tensor that has no place in the encoder."""
    full, inner, inside = name
    tensor = found.tensors[full]
    if INDEX.search(inner):
        check_index(what, full, tensor, found.tensors)
        result.dropped.append(Dropped(full, "an index that this ViT computes itself; checked"))
    elif DECOMPOSED.search(inner):
        if tensor.any():
            raise ValueError(
                f"{what} has trained relative positions along rows and columns ({full}), which "
                "this ViT cannot compute; to lose them knowingly give drop '*rel_pos_*'"
            )
        result.dropped.append(Dropped(full, "relative positions, all zero"))
    else:
        reason = reason_to_drop(inner, inside)
        if reason is None:
            result.unexpected.append(full)
        else:
            result.dropped.append(Dropped(full, reason))
            head = HEAD.search(full)
            if head:
                result.behind[("" if head[1] is None else "fc_norm.") + head[2]] = tensor.float()
