"""A suite: rows of encoders, columns of tasks, seeds; from a TOML file or a preset."""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mae_bench.core.demo_data import DemoData
from mae_bench.core.recipe import Recipe, Scalar, build, unknown
from mae_bench.core.registry import OBJECTIVES, TASKS, load
from mae_bench.kit.archs import ARCHS

Size = Literal["published", "demo"]
ROW_KEYS = ("recipe", "checkpoint", "arch", "origin", "size", "seeds", "own")
"""What an encoder's table may hold beside the fields of its recipe."""
COLUMN_KEYS = ("recipe", "size", "seeds")


@dataclass(frozen=True)
class Row:
    """One encoder: made here by `recipe`, or brought in a `checkpoint`."""

    label: str
    recipe: Recipe | None
    checkpoint: Path | None
    arch: str
    origin: str
    """The recipe that made it, or 'foreign'; tasks take published values by it."""
    seeds: Literal["first", "each"] = "first"
    """Whether it is made once, with the suite's first seed, or anew for each transfer seed."""
    own: tuple[str, ...] = ()
    """Tasks whose cell is the row's own metric of the same name, as the MAE paper reports the
    supervised row's fine-tuning."""


@dataclass(frozen=True)
class Column:
    """One task with its values: published ones for each row's encoder, or the demo's."""

    task: str
    size: Size = "published"
    fields: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    """Empty: the suite's seeds."""

    def recipe_for(self, row: Row) -> Recipe:
        """Return the task's recipe for that row; ValueError for wrong fields."""
        cls = load(self.task)
        base = cls.demo() if self.size == "demo" else cls.published(row.arch, row.origin)
        return build(cls, self.fields, base)


@dataclass(frozen=True)
class Suite:
    """Rows x columns x seeds: a comparison with a name."""

    name: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    seeds: tuple[int, ...]
    demo_data: DemoData | None = None
    """Where given, data sets that the site does not name are made with these sizes."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", self.name):
            raise ValueError(f"suite.name must match [a-z0-9][a-z0-9_-]*, got {self.name!r}")
        if not self.rows or not self.columns:
            raise ValueError(f"suite {self.name} needs at least one encoder and one task")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"suite.seeds must be distinct and not empty, got {self.seeds}")
        labels = [row.label for row in self.rows]
        if len(set(labels)) != len(labels):
            raise ValueError(f"suite {self.name} has a row label twice: {', '.join(labels)}")
        tasks = [column.task for column in self.columns]
        if len(set(tasks)) != len(tasks):
            raise ValueError(f"suite {self.name} has a task twice: {', '.join(tasks)}")
        for row in self.rows:
            for task in row.own:
                if task not in tasks:
                    raise ValueError(unknown(f"task in own of {row.label!r}", task, tasks))
                wanted = {metric.name for metric in load(task).metrics}
                given = {metric.name for metric in row.recipe.metrics} if row.recipe else set()
                if not wanted <= given:
                    raise ValueError(
                        f"own of {row.label!r} names {task}, whose {', '.join(sorted(wanted))} its "
                        f"own recipe does not measure; it measures {', '.join(sorted(given))}"
                    )


def made_row(label: str, name: str, size: Size, fields: Mapping[str, Scalar], **rest: Any) -> Row:
    """Return a row whose encoder is made here by the objective of that name."""
    if name not in OBJECTIVES:
        raise ValueError(unknown(f"objective of encoder {label!r}", name, OBJECTIVES))
    cls = load(name)
    arch = str(fields.get("arch", getattr(cls(), "arch")))  # noqa: B009 - no field of Recipe
    base = cls.demo() if size == "demo" else cls.published(arch, name)
    recipe = build(cls, fields, base)
    arch = str(getattr(recipe, "arch"))  # noqa: B009
    return Row(label, recipe, None, arch=arch, origin=name, **rest)


def read_suite(path: Path) -> Suite:
    """Return the suite that a TOML file describes.

    Raises ValueError for unknown keys, names and fields (with the nearest known one), and for
    values of the wrong type or out of range.
    """
    try:
        table = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"no suite file {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    try:
        return _suite(table, path.resolve().parent)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _suite(table: Mapping[str, Any], folder: Path) -> Suite:
    """Return the suite in a parsed table; checkpoints are relative to folder."""
    for key in table:
        if key not in ("name", "seeds", "encoders", "tasks"):
            raise ValueError(unknown("key", key, ("name", "seeds", "encoders", "tasks")))
    encoders, tasks = table.get("encoders", {}), table.get("tasks", [])
    if not isinstance(encoders, dict) or not all(isinstance(e, dict) for e in encoders.values()):
        raise ValueError('encoders must be tables: [encoders."Row label"]')
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise ValueError("tasks must be tables: [[tasks]]")
    return Suite(
        name=_typed("name", table.get("name", ""), str),
        rows=tuple(_row(label, entry, folder) for label, entry in encoders.items()),
        columns=tuple(_column(task) for task in tasks),
        seeds=_seeds("seeds", table.get("seeds", [0])),
    )


def _row(label: str, entry: Mapping[str, Any], folder: Path) -> Row:
    """Return the row of one [encoders."label"] table."""
    if ("recipe" in entry) == ("checkpoint" in entry):
        raise ValueError(f"encoder {label!r} must have either recipe or checkpoint")
    fields = {key: value for key, value in entry.items() if key not in ROW_KEYS}
    seeds = entry.get("seeds", "first")
    if seeds not in ("first", "each"):
        raise ValueError(f"seeds of encoder {label!r} must be 'first' or 'each', got {seeds!r}")
    own = tuple(_typed(f"own of {label!r}", entry.get("own", []), list))
    if "recipe" in entry:
        if "arch" in entry:
            fields["arch"] = entry["arch"]
        return made_row(label, entry["recipe"], _size(entry), fields, seeds=seeds, own=own)
    if fields or own:
        odd = sorted(fields) + ["own"] * bool(own)
        raise ValueError(f"encoder {label!r} has a checkpoint, so it cannot have {', '.join(odd)}")
    path = folder / _typed(f"checkpoint of {label!r}", entry["checkpoint"], str)
    arch, origin = declared(path, entry)
    if arch not in ARCHS:
        raise ValueError(unknown(f"arch of encoder {label!r}", arch, ARCHS))
    return Row(label, None, path, arch=arch, origin=origin)


def declared(path: Path, entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return arch and origin: those of the suite file, else those in the checkpoint's header."""
    if "arch" in entry:
        return str(entry["arch"]), str(entry.get("origin", "foreign"))
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} does not say its size; give arch, one of {', '.join(ARCHS)}")
    words = _metadata(path)
    try:
        spec = json.loads(words["mae_bench.encoder"])
        return spec["arch"], str(entry.get("origin", spec["origin"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no encoder file of mae-bench; give arch too") from error


def declared_classifier(path: Path, task: str) -> tuple[str, str]:
    """Return arch and origin of the encoder in a classifier file that `task` left.

    Raises ValueError with the next step if the file is another, such as a plain encoder.
    """
    words = _metadata(path)
    try:
        spec = json.loads(words["mae_bench.classifier"])["spec"]
        return str(spec["arch"]), str(spec["origin"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no classifier.safetensors as {task} leaves it; run `mae-bench transfer "
            f"{task} --encoder {path}` first and pass the file in its folder"
        ) from error


def _metadata(path: Path) -> dict[str, str]:
    """Return the words in the header of a safetensors file; empty if it is none."""
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(length, 10_000_000)))
    except FileNotFoundError:
        raise ValueError(f"no checkpoint {path}") from None
    except ValueError:
        return {}
    words = header.get("__metadata__") if isinstance(header, dict) else None
    return words if isinstance(words, dict) else {}


def _column(entry: Mapping[str, Any]) -> Column:
    """Return the column of one [[tasks]] table, its fields checked against the recipe."""
    if "recipe" not in entry:
        raise ValueError("every [[tasks]] table needs recipe = NAME")
    if entry["recipe"] not in TASKS:
        raise ValueError(unknown("task", str(entry["recipe"]), TASKS))
    fields = {key: value for key, value in entry.items() if key not in COLUMN_KEYS}
    seeds = _seeds("seeds of a task", entry["seeds"]) if "seeds" in entry else ()
    column = Column(entry["recipe"], _size(entry), fields, seeds)
    build(load(column.task), fields, load(column.task).demo() if column.size == "demo" else None)
    return column


def _size(entry: Mapping[str, Any]) -> Size:
    """Return the size key of a table."""
    size: Size = entry.get("size", "published")
    if size not in ("published", "demo"):
        raise ValueError(f"size must be 'published' or 'demo', got {size!r}")
    return size


def _seeds(what: str, value: Any) -> tuple[int, ...]:
    """Return a list of whole numbers."""
    whole = isinstance(value, list) and all(type(seed) is int and seed >= 0 for seed in value)
    if not whole:
        raise ValueError(f"{what} must be a list of whole numbers >= 0, got {value!r}")
    return tuple(value)


def _typed(what: str, value: Any, kind: type) -> Any:
    """Return value if it is of that kind."""
    if not isinstance(value, kind):
        raise ValueError(f"{what} must be {kind.__name__}, got {value!r}")
    return value
