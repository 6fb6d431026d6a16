"""Sentences about others' numbers: which stand beside ours, and what tables may not lack."""

from collections.abc import Iterator, Sequence

from mae_bench.core.registry import load
from mae_bench.report.rows import Column, Row


def notes_on_others(columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    """Return whose numbers stand beside ours, or why none do, and what every table must carry."""
    return [*_grey(rows), *_needed(columns, rows)]


def _grey(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what rows of others there are."""
    published = sum(row.kind == "published" for row in rows)
    imported = sum(row.kind == "imported" for row in rows)
    if published:
        yield (
            f"{published} rows are published numbers, set in grey or italics: of the same encoder "
            "sizes, measured by the rules of the column; leaderboard.json names source and place "
            "of each."
        )
    else:
        sizes = ", ".join(dict.fromkeys(row.arch for row in rows if row.kind == "ours"))
        yield f"No published numbers stand beside ours: none are of {sizes} by these rules."
    if imported:
        yield f"{imported} rows are numbers that were imported into the store, not measured by it."


def _needed(columns: Sequence[Column], rows: Sequence[Row]) -> Iterator[str]:
    """Yield why a task's columns must not be read without some row, and where it is missing."""
    for task in dict.fromkeys(column.task for column in columns):
        cls = load(task)
        origins = getattr(cls, "never_without", ())
        if not origins:
            continue
        yield f"{_titles(columns, task)}: {getattr(cls, 'caution')}."  # noqa: B009 - optional
        for origin in origins:
            yield from _missing(task, origin, columns, rows)


def _missing(
    task: str, origin: str, columns: Sequence[Column], rows: Sequence[Row]
) -> Iterator[str]:
    """Yield for each size without a row of that origin what stands in its place."""
    ours = [row for row in rows if row.kind == "ours"]
    for arch in dict.fromkeys(row.arch for row in ours):
        if any((row.arch, row.origin) == (arch, origin) for row in ours):
            continue
        ids = {column.id for column in columns if column.task == task}
        stand_ins = [
            row.row
            for row in rows
            if (row.arch, row.origin) == (arch, origin) and ids & row.numbers.keys()
        ]
        instead = (
            f"{stand_ins[0]} stands in its place"
            if stand_ins
            else "nor is one published by these rules"
        )
        yield f"{_titles(columns, task)}: the suite has no {origin} row of {arch}; {instead}."


def _titles(columns: Sequence[Column], task: str) -> str:
    """Return the titles of the task's columns."""
    return ", ".join(dict.fromkeys(column.title for column in columns if column.task == task))
