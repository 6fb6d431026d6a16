"""A suite: rows of encoders, columns of tasks, seeds; from a TOML file or a preset."""

import dataclasses
import logging
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mae_bench.core.demo_data import DemoData
from mae_bench.core.recipe import Recipe, Scalar, build, unknown
from mae_bench.core.registry import OBJECTIVES, TASKS, load
from mae_bench.suite.encoders import find_encoder, spec_in
from mae_bench.suite.tier import FULL, Tier

log = logging.getLogger(__name__)

Size = Literal["published", "demo"]
ROW_KEYS = ("recipe", "checkpoint", "arch", "origin", "size", "seeds", "own")
"""What an encoder's table may hold beside the fields of its recipe."""
NAME = r"[a-z0-9][a-z0-9_-]{0,99}"
"""Suites' names, which name folders."""
SUITE_KEYS = ("name", "seeds", "encoders", "tasks", "tiers")
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
    tier: Tier | None = None
    """Where given, what it changes."""

    def recipe_for(self, row: Row) -> Recipe:
        """Return the task's recipe for that row; ValueError for wrong fields."""
        cls = load(self.task)
        base = cls.demo() if self.size == "demo" else cls.published(row.arch, row.origin)
        recipe = build(cls, self.fields, base)
        return recipe if self.tier is None else self.tier.of(recipe, row.arch, row.origin)


@dataclass(frozen=True)
class Suite:
    """Rows x columns x seeds: a comparison with a name."""

    name: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    seeds: tuple[int, ...]
    demo_data: DemoData | None = None
    """Where given, data sets that the site does not name are made with these sizes."""
    tiers: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """Name of a cheaper or dearer variant -> recipe -> fields that it has there."""
    tier: str = FULL
    """Which of its variants this is; others are called SUITE-TIER."""
    whole: "Suite | None" = None
    """The suite that this is a variant of; None for the full one itself."""

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME, self.name):
            raise ValueError(f"suite.name must match {NAME}, got {self.name!r}")
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


def read_suite(path: Path, store: Path = Path("runs")) -> Suite:
    """Return the suite that a TOML file describes; foreign checkpoints are converted into `store`.

    Raises ValueError for unknown keys, names and fields (with the nearest known one), for values of
    the wrong type or out of range, and for a checkpoint that is missing or no encoder.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"no suite file {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    try:
        return _suite(table, path.resolve().parent, store)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _suite(table: Mapping[str, Any], folder: Path, store: Path) -> Suite:
    """Return the suite in a parsed table; checkpoints are relative to folder."""
    for key in table:
        if key not in SUITE_KEYS:
            raise ValueError(unknown("key", key, SUITE_KEYS))
    encoders, tasks = table.get("encoders", {}), table.get("tasks", [])
    if not isinstance(encoders, dict) or not all(isinstance(e, dict) for e in encoders.values()):
        raise ValueError('encoders must be tables: [encoders."Row label"]')
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise ValueError("tasks must be tables: [[tasks]]")
    return Suite(
        name=_typed("name", table.get("name", ""), str),
        rows=tuple(_row(label, entry, folder, store) for label, entry in encoders.items()),
        columns=tuple(_column(task) for task in tasks),
        seeds=_seeds("seeds", table.get("seeds", [0])),
        tiers=_tiers(table.get("tiers", {})),
    )


def _tiers(table: Any) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """Return the [tiers.NAME.RECIPE] tables, their fields checked against the recipes."""
    for name, recipes in _typed("tiers", table, dict).items():
        if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", name) or name == "full":
            raise ValueError(f"a tier's name must match [a-z0-9][a-z0-9_]*, not full, got {name!r}")
        for recipe, fields in _typed(f"tiers.{name}", recipes, dict).items():
            if recipe not in OBJECTIVES | TASKS:
                raise ValueError(unknown(f"recipe in tiers.{name}", recipe, OBJECTIVES | TASKS))
            _check_names(f"tiers.{name}.{recipe}", load(recipe), fields)
    tiers: Mapping[str, Mapping[str, Mapping[str, Any]]] = table
    return tiers


def _check_names(where: str, cls: type[Recipe], fields: Any) -> None:
    """Raise ValueError naming the nearest field for one that the recipe does not have."""
    known = [one.name for one in dataclasses.fields(cls)]
    for name in _typed(where, fields, dict):
        if name not in known:
            raise ValueError(unknown(f"field of {where}", name, known))


def _row(label: str, entry: Mapping[str, Any], folder: Path, store: Path) -> Row:
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
        odd = ", ".join(sorted(fields) + ["own"] * bool(own))
        raise ValueError(
            f"encoder {label!r} has a checkpoint, so it cannot have {odd}; what the importer "
            "should know is said once with `mae-bench encoders add FILE --name NAME ...`"
        )
    name = _typed(f"checkpoint of {label!r}", entry["checkpoint"], str)
    path = find_encoder(name, store, folder, say=log.info)
    spec = spec_in(path) or {}
    for key in ("arch", "origin"):
        if entry.get(key, spec[key]) != spec[key]:
            raise ValueError(
                f"{key} of encoder {label!r} is {entry[key]}, {name} holds {spec[key]}; leave it "
                "out, or say what it is once with `mae-bench encoders add`"
            )
    return Row(label, None, path, spec["arch"], spec["origin"])


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
