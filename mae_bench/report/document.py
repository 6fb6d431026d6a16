"""A leaderboard as one document: what leaderboard.json holds, and every other format is made of."""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from mae_bench.core.recipe import fields_of
from mae_bench.report.figures.figure import Figure
from mae_bench.report.leaderboard import GROUP
from mae_bench.report.rows import OF_COLUMN, Column, Row
from mae_bench.suite.plan import Plan
from mae_bench.suite.store import Store

SCHEMA = 2
OF_NUMBER = ["seed", "key", "value", "state", "reason", "seconds"]
"""What is said of each number of a cell."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Numbers:
    """The tables that a leaderboard is made from."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    """In the tables' order."""
    frame: pd.DataFrame
    """The long table."""
    board: pd.DataFrame
    """A line for each of our cells, with its published twin."""
    jobs: pd.DataFrame
    efficiency: pd.DataFrame = field(default_factory=pd.DataFrame)
    rank_agreement: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True)
class Words:
    """What a leaderboard says beside its numbers."""

    suite: str
    command: str
    """What makes the tables again."""
    explanation: str
    notes: Sequence[str]
    caution: str = ""
    """What nobody may miss who sees a number of it, if there is such a thing."""


def document(
    words: Words, numbers: Numbers, jobs: list[dict[str, Any]], figures: Sequence[Figure]
) -> Document:
    """Return the whole leaderboard, blanks as None; `jobs` are lines of `details`.

    A cell of ours has all that the board has; one of others its number and where it is from.
    """
    return {
        "schema": SCHEMA,
        "suite": words.suite,
        "command": words.command,
        "caution": words.caution,
        "explanation": words.explanation,
        "notes": list(words.notes),
        "columns": [dataclasses.asdict(column) for column in numbers.columns],
        "rows": [_row(row) for row in numbers.rows],
        "cells": [*_own_cells(numbers), *_cells_of_others(numbers.rows)],
        "jobs": jobs,
        "efficiency": records(numbers.efficiency),
        "rank_agreement": records(numbers.rank_agreement),
        "figures": [_figure(figure) for figure in figures],
    }


def details(jobs: pd.DataFrame, plan: Plan, store: Store) -> list[dict[str, Any]]:
    """Return each planned job's line with its fields, deviations and provenance."""
    found = []
    for line, job in zip(records(jobs), plan.jobs, strict=True):
        result = store.result(job)
        stamp = () if result is None else result.fidelity
        more = {
            "fields": fields_of(job.recipe),
            "data_fingerprint": job.data_fingerprint,
            "deviations": [] if isinstance(stamp, str) else list(stamp),
            "metrics": {} if result is None else result.metrics,
            "provenance": {} if result is None else result.provenance,
        }
        found.append(line | more)
    return found


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the frame's lines with Python values, None for NaN."""
    lines = frame.to_dict("records")
    return [{str(k): None if pd.isna(v) else v for k, v in one.items()} for one in lines]


def _row(row: Row) -> dict[str, Any]:
    """Return what is said of a row beside its numbers; `flaws` only where there are any."""
    line = dataclasses.asdict(dataclasses.replace(row, numbers={}))
    flaws = list(line.pop("flaws"))
    del line["numbers"]
    return line | {"deviations": list(row.deviations)} | ({"flaws": flaws} if flaws else {})


def _own_cells(numbers: Numbers) -> list[dict[str, Any]]:
    """Return our cells, each with the numbers of its seeds."""
    ids = {tuple(getattr(one, name) for name in OF_COLUMN): one.id for one in numbers.columns}
    seeds: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for one in records(numbers.frame):
        seeds[_cell(one)].append({name: one[name] for name in OF_NUMBER})
    cells = []
    for cell in records(numbers.board):
        shown = {name: value for name, value in cell.items() if name not in ("keys", "why")}
        column = ids[tuple(cell[name] for name in OF_COLUMN)]
        cells.append(shown | {"column": column, "numbers": seeds[_cell(cell)]})
    return cells


def _cell(line: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a cell is known by."""
    return tuple(line[name] for name in GROUP)


def _cells_of_others(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the cells of published and imported rows."""
    return [
        {
            "row": row.row,
            "column": column,
            "mean": number.value,
            "source": number.source,
            "location": number.location,
            "note": number.note,
        }
        for row in rows
        for column, number in row.numbers.items()
    ]


def _figure(figure: Figure) -> dict[str, Any]:
    """Return a figure with its files as they lie beside the tables."""
    files = [f"figures/{path.name}" for path in figure.files]
    return {"name": figure.name, "caption": figure.caption, "files": files}
