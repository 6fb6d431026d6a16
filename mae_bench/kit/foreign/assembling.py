"""Canonical tensors put together from intermediate ones: what was split joined, what was shared
copied, positions given the rows that this project's ViT expects.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from timm.layers import gen_relative_position_index
from torch import Tensor

from mae_bench.kit.foreign.arrival import Converted
from mae_bench.kit.foreign.naming import SHARED_TABLE, TABLE
from mae_bench.kit.pos_embed import resize_pos_embed

BLOCK = re.compile(r"blocks\.(\d+)\.")
CHANNEL_FIRST = "linear patch embedding reshaped, pixels channel first as in a kernel"

REMOVED = "position of an absent cls token removed"


@dataclass
class Parts:
    """Tensors under way from intermediate to canonical names."""

    tensors: dict[str, Tensor]
    sources: dict[str, tuple[str, ...]]
    """Canonical or intermediate name -> names in the file, without the encoder's prefix."""
    how: dict[str, list[str]] = field(default_factory=dict)
    """Name -> what was done to it, if anything was."""

    def convert(self, target: str, names: tuple[str, ...], tensor: Tensor, how: str) -> None:
        """Put the tensor in place of those it was made from."""
        sources = tuple(dict.fromkeys(s for name in names for s in self.sources.get(name, ())))
        notes = [note for name in names for note in self.how.get(name, [])]
        for name in names:
            self.tensors.pop(name, None)
            self.sources.pop(name, None)
            self.how.pop(name, None)
        self.tensors[target], self.sources[target] = tensor, sources
        self.how[target] = [*dict.fromkeys(notes), how]

    @property
    def depth(self) -> int:
        """Number of blocks: one more than the largest."""
        found = (BLOCK.match(name) for name in self.tensors)
        return 1 + max((int(block[1]) for block in found if block), default=-1)

    def matched(self) -> tuple[str, ...]:
        """Return the names that are as they were in the file."""
        return tuple(n for n in self.tensors if n not in self.how and self.sources[n] == (n,))

    def converted(self) -> tuple[Converted, ...]:
        """Return the others, with what was done."""
        same = set(self.matched())
        return tuple(
            Converted(self.sources[name], name, "; ".join(self.how.get(name, ["renamed"])))
            for name in self.tensors
            if name not in same
        )


def assemble(what: str, parts: Parts, grid: tuple[int, int] | None) -> None:
    """Bring the parts to canonical names, in place.

    `grid`: rows and columns of the positions if they are not square; they are resized to a square.
    Raises ValueError, naming the file, for positions or kernels that fit no square image.
    """
    for i in range(parts.depth):
        _join(parts, f"blocks.{i}.attn.")
    _share(parts)
    _to_float(parts)
    _kernel(what, parts)
    _positions(what, parts, grid)


def _join(parts: Parts, block: str) -> None:
    """Join query, key and value of one block; an absent key bias is zero, as in BEiT."""
    weights = tuple(f"{block}{part}.weight" for part in "qkv")
    if all(name in parts.tensors for name in weights):
        joined = torch.cat([parts.tensors[name] for name in weights])
        parts.convert(f"{block}qkv.weight", weights, joined, "query, key and value joined")
    q, k, v = (f"{block}{part}.bias" for part in "qkv")
    if q in parts.tensors and v in parts.tensors:
        absent = k not in parts.tensors
        key = torch.zeros_like(parts.tensors[q]) if absent else parts.tensors[k]
        joined = torch.cat([parts.tensors[q], key, parts.tensors[v]])
        how = "query and value bias joined, the absent key bias is zero"
        how = how if absent else "query, key and value joined"
        parts.convert(f"{block}qkv.bias", (q, v) if absent else (q, k, v), joined, how)


def _share(parts: Parts) -> None:
    """Copy a table of relative positions that all blocks share into each of them."""
    targets = [f"blocks.{i}.attn.{TABLE}" for i in range(parts.depth)]
    if SHARED_TABLE not in parts.tensors or any(name in parts.tensors for name in targets):
        return  # with both, the shared one stays over and is reported
    table, sources = parts.tensors.pop(SHARED_TABLE), parts.sources.pop(SHARED_TABLE)
    for name in targets:
        parts.tensors[name], parts.sources[name] = table.clone(), sources
        parts.how[name] = ["shared relative positions copied into each block"]


def _to_float(parts: Parts) -> None:
    """Convert every tensor to float32."""
    for name, tensor in list(parts.tensors.items()):
        if tensor.dtype != torch.float32:
            kind = str(tensor.dtype).removeprefix("torch.")
            parts.convert(name, (name,), tensor.float(), f"{kind} converted to float32")


def _kernel(what: str, parts: Parts) -> None:
    """Reshape a linear patch embedding [width, 3 * patch * patch] to a kernel."""
    name = "patch_embed.proj.weight"
    kernel = parts.tensors[name]
    if kernel.ndim == 2:
        patch = round((kernel.shape[1] / 3) ** 0.5)
        if 3 * patch**2 == kernel.shape[1]:
            kernel = kernel.reshape(-1, 3, patch, patch)
            parts.convert(name, (name,), kernel, CHANNEL_FIRST)
    shape = list(kernel.shape)
    if kernel.ndim != 4 or shape[1] != 3 or shape[2] != shape[3]:
        raise ValueError(
            f"{what} has a patch embedding of shape {shape}, expected [width, 3, patch, patch] for "
            "square patches of RGB images; pass an encoder of such"
        )


def _positions(what: str, parts: Parts, grid: tuple[int, int] | None) -> None:
    """Give the positions one row for the cls token, if there is one, and a square grid.

    Registers have no positions here: theirs are added to the registers themselves.
    """
    if "pos_embed" not in parts.tensors:
        if grid is not None:
            raise ValueError(f"{what} has no position embedding; leave out grid")
        return
    place = parts.tensors["pos_embed"]
    if place.ndim != 3 or place.shape[0] != 1:
        raise ValueError(
            f"{what} has a position embedding of shape {list(place.shape)}, expected "
            "[1, tokens, width]; pass a ViT with one row for each token"
        )
    registers = parts.tensors["reg_token"].shape[1] if "reg_token" in parts.tensors else 0
    has_cls = "cls_token" in parts.tensors
    usual = [(1, 0), (1, registers), (0, 0)] if has_cls else [(0, 0), (0, registers), (1, 0)]
    rows = next((pair for pair in usual if _fits(place.shape[1] - sum(pair), grid)), None)
    if rows is None:
        size = "a square grid" if grid is None else f"a grid of {grid[0]}x{grid[1]}"
        raise ValueError(
            f"{what} has {place.shape[1]} position rows, expected {size} of patches and a row for "
            f"each of {int(has_cls) + registers} other tokens; if the grid is not square, give its "
            "rows and columns as grid"
        )
    _prefix_rows(parts, *rows)
    if grid is not None:
        _squared(parts, grid)


def _fits(patches: int, grid: tuple[int, int] | None) -> bool:
    """Return whether so many patches make the grid, or a square one."""
    if grid is not None:
        return patches == grid[0] * grid[1]
    return patches > 0 and round(patches**0.5) ** 2 == patches


def _prefix_rows(parts: Parts, cls_rows: int, register_rows: int) -> None:
    """Bring the rows before the patches to one for the cls token, if there is one."""
    name = "pos_embed"
    if register_rows:
        place, how = parts.tensors[name], "positions of the registers added to them"
        end = cls_rows + register_rows
        if place[:, cls_rows:end].any():
            registers = parts.tensors["reg_token"] + place[:, cls_rows:end]
            parts.convert("reg_token", ("reg_token",), registers, how)
        kept = torch.cat([place[:, :cls_rows], place[:, end:]], dim=1)
        parts.convert(name, (name,), kept, how)
    place = parts.tensors[name]
    if "cls_token" in parts.tensors and not cls_rows:
        how = "position of the cls token, which has none, set to zero"
        parts.convert(name, (name,), torch.cat([torch.zeros_like(place[:, :1]), place], 1), how)
    elif cls_rows and "cls_token" not in parts.tensors:
        parts.convert(name, (name,), place[:, 1:].clone(), REMOVED)


def _squared(parts: Parts, grid: tuple[int, int]) -> None:
    """Resize positions of a grid that is not square to a square one of about as many patches."""
    side = round((grid[0] * grid[1]) ** 0.5)
    prefix = int("cls_token" in parts.tensors)
    place = resize_pos_embed(parts.tensors["pos_embed"], (side, side), prefix, grid)
    how = f"positions resized from {grid[0]}x{grid[1]} to {side}x{side} patches"
    if grid != (side, side):
        parts.convert("pos_embed", ("pos_embed",), place, how)


def check_index(what: str, name: str, index: Tensor, tables: Mapping[str, Tensor]) -> None:
    """Raise ValueError if an index of relative positions is not the one this ViT computes."""
    rows = next((table.shape[0] for name, table in tables.items() if name.endswith(TABLE)), 3)
    grid = (round((max(0, rows - 3)) ** 0.5) + 1) // 2
    wanted = gen_relative_position_index((grid, grid), class_token=True)
    if index.shape != wanted.shape or not torch.equal(index.long(), wanted):
        raise ValueError(
            f"{what} numbers its relative positions otherwise than BEiT ({name}), so its features "
            "would change; pass an encoder whose window is the whole image"
        )
