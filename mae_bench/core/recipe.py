"""A recipe is a frozen dataclass whose fields change its numbers; how they are checked."""

import dataclasses
import difflib
import functools
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

Scalar = str | int | float | bool
Framework = Literal["torch", "detectron2", "mmseg"]
PerImage = Literal["", "correct", "overlaps", "matches"]
"""What a job keeps of each test image: top-1 right or wrong, pixels of each class, detections."""


@dataclass(frozen=True)
class Metric:
    """A number that a recipe yields: `name` is its key in results, `title` its table heading."""

    name: str
    title: str
    unit: str = "%"
    higher_is_better: bool = True
    digits: int = 1
    optional: bool = False
    """Whether it may not exist, such as for an encoder too small for it: an empty cell."""
    per_image: PerImage = ""
    """What its job keeps from which the number can be had again for a sample of the test images."""
    protocol: str = ""
    """The protocol of published.csv whose numbers it may stand beside."""

    def check(self, value: float) -> None:
        """Raise ValueError unless value is finite, and within [0, 100] for a percentage."""
        if not math.isfinite(value):
            raise ValueError(f"metric {self.name} must be finite, got {value}")
        if self.unit == "%" and not 0.0 <= value <= 100.0:
            raise ValueError(f"metric {self.name} must be in [0, 100] %, got {value}")


@dataclass(frozen=True)
class Curve:
    """Metrics of a recipe that are the points of one line."""

    title: str
    along: str
    """What differs from point to point: the title of the axis."""
    points: tuple[tuple[str, str], ...]
    """Name of a metric, and where on the axis it stands; in order, evenly spaced."""


@dataclass(frozen=True)
class Resources:
    """What a job needs; never hashed. `framework` picks the interpreter in site.toml."""

    gpus: int = 8
    hours: float = 24.0
    framework: Framework = "torch"
    demo_seconds: float = 60.0
    """Seconds that demo() took on two CPU cores: the first guess of the time left."""


@dataclass(frozen=True)
class Context:
    """All that a recipe may know about where it runs."""

    out: Path
    """The job's own folder, which the recipe may fill as it likes."""
    seed: int
    data: Path | None
    """Root of the recipe's data set; None if its `dataset` is empty."""
    encoder: Path | None
    """The encoder file to transfer; None for pretraining."""


class Recipe(Protocol):
    """The contract of every objective and task; implemented by flat, frozen, kw_only dataclasses.

    The module that defines a recipe loads without torch; `run` imports what it needs.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    name: ClassVar[str]
    """Registry key."""
    version: ClassVar[int]
    """Raised when the same fields would give other numbers."""
    dataset: ClassVar[str]
    """A key of site.toml's [data], or empty."""
    after: ClassVar[str]
    """The task whose trained model is measured; empty: the encoder itself is."""
    metrics: ClassVar[tuple[Metric, ...]]
    resources: ClassVar[Resources]
    published_origins: ClassVar[tuple[str, ...]]
    """Recipes whose encoders that source measured; an objective's own name counts always."""
    published_archs: ClassVar[tuple[str, ...]]
    """Encoder sizes that the source of `published` gives values for."""
    # Optional, for the tables alone:
    # `apart`, names of fields that make a protocol of their own; where one is not as in the
    # recipe's defaults, the numbers stand in a column of their own.
    # `published_schedule`, the ledger's word for a length that has published numbers of its own.
    # `method`, of an objective: the ledger's word for its encoders where it is not the name.
    # `never_without`, origins whose row no table may lack, and `caution`, a clause saying why.
    # `stated`, fields that sources give different values for: where rows of one column differ in
    # them, a note says so.
    # `curve`, a Curve of metrics that are drawn as one line instead of each by itself.

    @classmethod
    def demo(cls) -> Self:
        """Return the same code path at a size for two CPU cores."""
        ...

    @classmethod
    def published(cls, arch: str, origin: str) -> Self:
        """Return the values the papers give for that encoder: its size and the recipe it is of."""
        ...

    def run(self, ctx: Context) -> dict[str, float]:
        """Return the metrics; called again with the same `ctx.out` after a kill."""
        ...


def fields_of(recipe: Recipe) -> dict[str, Any]:
    """Return every field of the recipe as JSON-ready values (tuples become lists)."""
    pairs = ((f.name, getattr(recipe, f.name)) for f in dataclasses.fields(recipe))
    return {name: list(value) if isinstance(value, tuple) else value for name, value in pairs}


def hashed_fields_of(recipe: Recipe) -> dict[str, Any]:
    """Return the fields that identify the recipe: all but those at their declared neutral value."""
    values = fields_of(recipe)
    for field in dataclasses.fields(recipe):
        if "neutral" in field.metadata and values[field.name] == field.metadata["neutral"]:
            del values[field.name]
    return values


def build(cls: type[Recipe], values: Mapping[str, Any], base: Recipe | None = None) -> Recipe:
    """Return `base` (default: `cls()`) with `values` set; lists become tuples, ints floats.

    Raises ValueError for an unknown field (with the nearest name), a wrong type or, through the
    recipe's own `__post_init__`, a value out of range.
    """
    hints = _hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    typed = {}
    for name, value in values.items():
        if name not in names:
            raise ValueError(unknown(f"field of {cls.name}", name, names))
        typed[name] = typed_value(f"{cls.name}.{name}", value, hints[name])
    start = cls() if base is None else base
    return typing.cast(Recipe, dataclasses.replace(typing.cast(Any, start), **typed))


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    """Return the types of a recipe's fields."""
    return typing.get_type_hints(cls)


def unknown(what: str, got: str, known: typing.Iterable[str]) -> str:
    """Return the message for a name that is not among the known ones, with the nearest of them."""
    known = sorted(known)
    near = difflib.get_close_matches(got, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return f"unknown {what} {got!r}; {hint}"


def require(recipe: Recipe, field: str, allowed: str, valid: bool) -> None:
    """Raise ValueError naming the field, what is allowed and the value, unless `valid`."""
    if not valid:
        name = type(recipe).name
        raise ValueError(f"{name}.{field} must be {allowed}, got {getattr(recipe, field)!r}")


def typed_value(label: str, value: Any, hint: Any) -> Any:
    """Return value as the hinted type, or raise ValueError naming the field."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        if value not in typing.get_args(hint):
            choices = ", ".join(map(repr, typing.get_args(hint)))
            raise ValueError(f"{label} must be one of {choices}, got {value!r}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{label} must be a list, got {value!r}")
        args = typing.get_args(hint)
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        if len(kinds) != len(value):
            raise ValueError(f"{label} must have {len(kinds)} entries, got {value!r}")
        return tuple(typed_value(label, v, k) for v, k in zip(value, kinds, strict=True))
    if origin is typing.Union:
        words = [kind for kind in typing.get_args(hint) if typing.get_origin(kind) is Literal]
        others = [kind for kind in typing.get_args(hint) if kind not in words]
        return typed_value(label, value, (words if isinstance(value, str) else others)[0])
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise ValueError(f"{label} must be {hint.__name__}, got {value!r}")
    return value
