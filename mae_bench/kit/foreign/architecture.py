"""The spec of an encoder, read off its tensors and the config beside its file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mae_bench.kit.archs import ARCHS
from mae_bench.kit.foreign.formats import Format
from mae_bench.kit.foreign.naming import TABLE
from mae_bench.kit.spec import EncoderSpec

HEADS = {192: 3, 320: 5, 384: 6, 512: 8, 640: 10, 768: 12, 1024: 16, 1280: 16}
"""Width -> heads of DeiT's and MAE's sizes and of timm's little, medium and betwixt."""


@dataclass(frozen=True)
class Claims:
    """What is said of an encoder beside its tensors; None where nothing is."""

    heads: int | None = None
    norm_eps: float | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    width: int | None = None
    depth: int | None = None
    hidden_act: str | None = None
    image_size: tuple[int, int] | None = None
    """Rows and columns in pixels."""

    def grid(self, patch: int) -> tuple[int, int] | None:
        """Return rows and columns of patches if they are known to differ."""
        if self.image_size is None or self.image_size[0] == self.image_size[1]:
            return None
        return self.image_size[0] // patch, self.image_size[1] // patch


def claims_of(config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> Claims:
    """Return what transformers' or timm's config.json and preprocessor_config.json say."""
    pixels = dict(preprocessor)
    cfg = config.get("pretrained_cfg")
    if isinstance(cfg, dict):
        pixels = {"image_mean": cfg.get("mean"), "image_std": cfg.get("std")}
    if pixels.get("do_normalize") is False:
        pixels |= {"image_mean": (0.0, 0.0, 0.0), "image_std": (1.0, 1.0, 1.0)}
    return Claims(
        heads=config.get("num_attention_heads"),
        norm_eps=config.get("layer_norm_eps"),
        mean=_three(pixels.get("image_mean")),
        std=_three(pixels.get("image_std")),
        width=config.get("hidden_size", config.get("num_features")),
        depth=config.get("num_hidden_layers"),
        hidden_act=config.get("hidden_act"),
        image_size=_two(config.get("image_size")),
    )


def infer_spec(
    what: str, state: Mapping[str, Tensor], fmt: Format, claims: Claims, heads: int | None
) -> EncoderSpec:
    """Return the spec that the canonical tensors imply; `heads` as the user gave them.

    Raises ValueError if they contradict each other or leave the heads open.
    """
    width, _, patch, _ = state["patch_embed.proj.weight"].shape
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    grid = _grid(what, state)
    _agree(what, claims, (width, depth, grid * patch))
    usual = fmt.heads.get(width) or _usual_heads(width, depth, patch)
    heads = _heads(what, state, usual, (claims.heads, heads))

    def has(ending: str) -> bool:  # in one block, so that others which lack it are found out
        return any(name.startswith("blocks.") and name.endswith(ending) for name in state)

    try:
        return EncoderSpec(
            arch=arch_name(width, depth, patch, heads),
            image_size=grid * patch,
            patch_size=patch,
            width=width,
            depth=depth,
            heads=heads,
            pool="cls" if "cls_token" in state else "avg",
            mean=claims.mean or fmt.mean,
            std=claims.std or fmt.std,
            origin=fmt.origin,
            class_token="cls_token" in state,
            num_registers=state["reg_token"].shape[1] if "reg_token" in state else 0,
            layer_scale=has(".gamma"),
            qkv_bias=has("attn.qkv.bias"),
            absolute_positions="pos_embed" in state,
            relative_positions=has(TABLE),
            final_norm="norm.weight" in state or "norm.bias" in state,
            norm_eps=claims.norm_eps or fmt.norm_eps,
        )
    except ValueError as error:
        raise ValueError(f"{what} cannot be used: {error}") from error


def arch_name(width: int, depth: int, patch: int, heads: int) -> str:
    """Return the named size of that shape, else a name that tells the shape."""
    for name, shape in ARCHS.items():
        if (shape.width, shape.depth, shape.patch_size, shape.heads) == (
            width,
            depth,
            patch,
            heads,
        ):
            return name
    return f"vit_{width}x{depth}_patch{patch}"


def _agree(what: str, claims: Claims, shape: tuple[int, int, int]) -> None:
    """Raise ValueError if the config beside the file is of another model."""
    side = None if claims.image_size is None or claims.grid(1) else claims.image_size[0]
    for name, said, found in (
        ("hidden_size", claims.width, shape[0]),
        ("num_hidden_layers", claims.depth, shape[1]),
        ("image_size", side, shape[2]),
        ("hidden_act", claims.hidden_act, "gelu"),
    ):
        if said is not None and said != found:
            raise ValueError(
                f"{what}: the config.json beside it says {name} {said}, but the encoder has "
                f"{found}; put the right config.json there, or use another encoder"
            )


def _grid(what: str, state: Mapping[str, Tensor]) -> int:
    """Return the patches along one side, by absolute or relative positions."""
    sides = set()
    if "pos_embed" in state:
        sides.add(round((state["pos_embed"].shape[1] - int("cls_token" in state)) ** 0.5))
    tables = {tensor.shape[0] for name, tensor in state.items() if name.endswith(TABLE)}
    sides |= {(round(max(0, rows - 3) ** 0.5) + 1) // 2 for rows in tables}
    if len(sides) != 1:
        found = f"positions for grids of {sorted(sides)}" if sides else "no positions"
        raise ValueError(
            f"{what} has {found}, expected an embedding or relative tables of one square grid; "
            "pass an encoder that has them"
        )
    return int(sides.pop())


def _usual_heads(width: int, depth: int, patch: int) -> int | None:
    """Return the heads of the named size of that shape, else what the width usually has."""
    for shape in ARCHS.values():
        if (shape.width, shape.depth, shape.patch_size) == (width, depth, patch):
            return shape.heads
    return HEADS.get(width)


def _heads(
    what: str,
    state: Mapping[str, Tensor],
    usual: int | None,
    said: tuple[int | None, int | None],
) -> int:
    """Return the heads by config, tables and the user's word, which must agree, else the usual."""
    tables = {tensor.shape[1] for name, tensor in state.items() if name.endswith(TABLE)}
    sure = {number for number in (*said, *tables) if number is not None}
    if len(sure) > 1:
        raise ValueError(
            f"{what}: heads are {said[0]} by the config.json beside it, {sorted(tables) or None} "
            f"by its relative positions and {said[1]} as given; expected one number: leave out "
            "heads, or mend the config.json"
        )
    if sure:
        return int(sure.pop())
    if usual is None:
        width = state["patch_embed.proj.weight"].shape[0]
        raise ValueError(
            f"{what} has width {width}, and its tensors do not tell the number of attention "
            f"heads (known for widths {', '.join(map(str, sorted(HEADS)))}); give heads"
        )
    return usual


def _two(value: Any) -> tuple[int, int] | None:
    """Return rows and columns of a size given as one number or two, None if it is neither."""
    if isinstance(value, int):
        return value, value
    if isinstance(value, list | tuple) and len(value) == 2:
        return int(value[0]), int(value[1])
    return None


def _three(values: Any) -> tuple[float, float, float] | None:
    """Return three floats, None if there are not three."""
    if not isinstance(values, list | tuple) or len(values) != 3:
        return None
    return float(values[0]), float(values[1]), float(values[2])
