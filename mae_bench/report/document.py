"""A leaderboard as one JSON document: what leaderboard.json holds and the page shows."""

from collections import defaultdict
from typing import Any

import pandas as pd

from mae_bench.core.recipe import fields_of
from mae_bench.report.content import Content
from mae_bench.report.leaderboard import GROUP
from mae_bench.suite.plan import Plan
from mae_bench.suite.store import Store

SCHEMA = 2
OF_NUMBER = ["seed", "key", "value", "state", "reason", "seconds"]
"""What is said of each number of a cell."""


def document(
    content: Content, frame: pd.DataFrame, board: pd.DataFrame, jobs: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the whole leaderboard, blanks as None: suite, command, notes, cells and jobs."""
    numbers: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for one in records(frame):
        of_cell = tuple(one[name] for name in GROUP)
        numbers[of_cell].append({name: one[name] for name in OF_NUMBER})
    cells = []
    for cell in records(board):
        del cell["keys"], cell["why"]
        cells.append(cell | {"numbers": numbers[tuple(cell[name] for name in GROUP)]})
    return {
        "schema": SCHEMA,
        "suite": content.suite,
        "command": content.command,
        "notes": list(content.notes),
        "cells": cells,
        "jobs": jobs,
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
