"""What the tables have side by side: columns, our rows, and rows of others' numbers."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from mae_bench.core.fidelity import PAPER
from mae_bench.core.job import Job
from mae_bench.report.published import EPOCHS, Kind, Reference, rules
from mae_bench.suite.flaws import FlawKind
from mae_bench.suite.plan import Plan
from mae_bench.suite.store import Store

OF_COLUMN = ["task", "variant", "metric"]
"""What a column of the tables is known by."""
OF_OTHERS = ("row", "kind", "arch", "origin", "epochs", *OF_COLUMN, "mean", "source")
DEVIATES = "deviates"


@dataclass(frozen=True)
class Column:
    """One metric of one task, at one variant of it."""

    id: str
    task: str
    variant: str
    metric: str
    title: str
    unit: str
    digits: int
    higher_is_better: bool
    protocol: str
    """Whose published numbers may stand in it; empty where none are known."""


@dataclass(frozen=True)
class RowFlaw:
    """What went wrong in one of a row's trainings, which ended all the same."""

    kind: FlawKind
    recipe: str
    seed: int
    text: str


@dataclass(frozen=True)
class Row:
    """One line of the tables: an encoder of ours, or one that others measured."""

    row: str
    """Its name, which no other row has."""
    kind: Literal["ours"] | Kind
    arch: str
    origin: str
    epochs: float | None
    """Of pretraining; None where it is not known."""
    params: float | None = None
    flops: float | None = None
    stamp: str = ""
    """paper, deviates, or empty: nothing was run yet, or it was others'."""
    deviations: tuple[str, ...] = ()
    flaws: tuple[RowFlaw, ...] = ()
    """Of the trainings behind its numbers."""
    source: str = ""
    location: str = ""
    note: str = ""
    numbers: Mapping[str, Reference] = field(default_factory=dict)
    """Of a row of others: column id -> number."""


def columns_of(frame: pd.DataFrame) -> list[Column]:
    """Return the tables' columns in the long table's order."""
    return [
        Column(
            id=column_id(one),
            digits=int(one["digits"]),
            higher_is_better=bool(one["higher_is_better"]),
            **{name: one[name] for name in (*OF_COLUMN, "title", "unit", "protocol")},
        )
        for one in frame.drop_duplicates(OF_COLUMN).to_dict("records")
    ]


def column_id(line: Mapping[Any, Any]) -> str:
    """Return the id of the column that a line is of."""
    return ".".join(filter(None, [line["task"], line["metric"], line["variant"]]))


def own_rows(frame: pd.DataFrame, deviations: Mapping[str, Sequence[str] | None]) -> list[Row]:
    """Return our rows in the long table's order; `deviations` as `deviations_of` gives them."""
    rows = []
    for name, lines in frame.groupby("row", sort=False):
        known = {name: _first(lines[name]) for name in ("encoder_epochs", "params", "flops")}
        found = deviations.get(str(name))
        stamp = "" if found is None else DEVIATES if found else PAPER
        rows.append(
            Row(
                row=str(name),
                kind="ours",
                arch=str(lines["arch"].iloc[0]),
                origin=str(lines["origin"].iloc[0]),
                epochs=known["encoder_epochs"],
                params=known["params"],
                flops=known["flops"],
                stamp=stamp,
                deviations=tuple(found or ()),
            )
        )
    return rows


def deviations_of(plan: Plan, store: Store) -> dict[str, list[str] | None]:
    """Return row -> how its finished jobs and their encoders' differ from published recipes.

    None for a row where no finished job notes it, so that nothing can be said.
    """
    found: dict[str, list[str] | None] = {}
    for cell in plan.cells:
        lines: dict[str, None] = {}
        noted = False
        for job in (one for last in cell.jobs for one in chain(last)):
            result = store.result(job)
            stamp = () if result is None else result.fidelity
            noted = noted or bool(stamp)
            if not isinstance(stamp, str):
                lines |= dict.fromkeys(f"{job.recipe.name}: {text}" for text in stamp)
        if noted:
            known = found.get(cell.row) or []
            found[cell.row] = [*known, *(line for line in lines if line not in known)]
        found.setdefault(cell.row, None)
    return found


def rows_of_others(
    frame: pd.DataFrame, columns: Sequence[Column], references: Iterable[Reference]
) -> list[Row]:
    """Return rows of numbers that have a column here and an architecture of one of our rows.

    A row is one method, size, pretraining and source; numbers after a shorter schedule of the task
    are a row of their own.
    """
    archs = set(frame["arch"])
    places = _places(frame, columns)
    groups: dict[tuple[Any, ...], dict[str, Reference]] = {}
    for one in references:
        place = places.get((one.rules, one.metric))
        if place is None or one.arch not in archs:
            continue
        identity = (one.kind, one.method, one.arch, one.pretrain_data, one.pretrain_epochs)
        group = groups.setdefault((*identity, one.source, _schedule(one)), {})
        group.setdefault(place, one)
    names = set(map(str, frame["row"]))
    rows = []
    for numbers in groups.values():
        row = _row_of_others(numbers, names)
        names.add(row.row)
        rows.append(row)
    return rows


def numbers_of_others(rows: Iterable[Row], columns: Sequence[Column]) -> pd.DataFrame:
    """Return a line for each number of others: row, column and source."""
    places = {column.id: column for column in columns}
    lines = [
        {
            **{name: getattr(row, name) for name in ("row", "kind", "arch", "origin", "epochs")},
            **{name: getattr(places[column], name) for name in OF_COLUMN},
            "mean": number.value,
            "source": number.source,
        }
        for row in rows
        for column, number in row.numbers.items()
    ]
    return pd.DataFrame.from_records(lines, columns=list(OF_OTHERS)).astype(
        {"epochs": float, "mean": float}
    )


def order(rows: Iterable[tuple[str, str, str]]) -> list[int]:
    """Return the places of rows, each told by kind, architecture and stamp, in the tables' order.

    Rows that deviate from the published recipes come last; in both parts those of one architecture
    stand together, ours before others'.
    """
    told = list(enumerate(rows))
    ours = [(place, arch, stamp) for place, (kind, arch, stamp) in told if kind == "ours"]
    others = [(place, arch) for place, (kind, arch, _) in told if kind != "ours"]
    places: dict[int, None] = {}
    for deviating in (False, True):
        part = [(p, arch) for p, arch, stamp in ours if (stamp == DEVIATES) == deviating]
        for arch in dict.fromkeys(arch for _, arch in part):
            places |= dict.fromkeys(place for place, its in (*part, *others) if its == arch)
    return list(places)


def rules_of(line: Mapping[Any, Any]) -> str:
    """Return the rules that a line of the long table was measured by; empty if it has none."""
    name = str(line["protocol"])
    return rules(name, str(line["schedule"]), str(line["variant"])) if name else ""


def _places(frame: pd.DataFrame, columns: Sequence[Column]) -> dict[tuple[str, str], str]:
    """Return rules and metric -> id of the column whose numbers follow them."""
    ids = {(one.task, one.variant, one.metric): one.id for one in columns}
    names = [*OF_COLUMN, "protocol", "schedule"]
    places: dict[tuple[str, str], str] = {}
    for one in frame[names].drop_duplicates().to_dict("records"):
        column = ids[one["task"], one["variant"], one["metric"]]
        places.setdefault((rules_of(one), str(one["metric"])), column)
    return {place: column for place, column in places.items() if place[0]}


def _row_of_others(numbers: Mapping[str, Reference], taken: set[str]) -> Row:
    """Return the row of the numbers, under a name that is not taken."""
    those = list(numbers.values())
    first = those[0]
    epochs = first.pretrain_epochs
    parts = [f"{first.method} {first.backbone.partition('@')[0]}"]
    parts += [f"{epochs:g} epochs"] if epochs else []
    parts += [_schedule(first)] if _schedule(first) else []
    name = f"{', '.join(parts)} ({first.source.partition(',')[0]})"
    names = (name, *(f"{name} {number}" for number in range(2, len(taken) + 3)))
    return Row(
        row=next(one for one in names if one not in taken),
        kind=first.kind,
        arch=first.arch,
        origin=first.origin,
        epochs=epochs,
        source=first.source,
        location="; ".join(dict.fromkeys(one.location for one in those if one.location)),
        note="; ".join(dict.fromkeys(one.note for one in those if one.note)),
        numbers=numbers,
    )


def _schedule(one: Reference) -> str:
    """Return the shorter schedule that the number was had after, empty for the usual one."""
    apart = one.protocol.partition("@")[2]
    return apart if re.fullmatch(EPOCHS, apart) else ""


def chain(job: Job) -> list[Job]:
    """Return the job that makes the encoder, those between, and the job."""
    chain = [job]
    while isinstance(chain[0].source, Job):
        chain.insert(0, chain[0].source)
    return chain


def _first(values: pd.Series) -> float | None:
    """Return the first number that is known, None if none is."""
    known = values.dropna()
    return None if known.empty else float(known.iloc[0])
