"""The leaderboard as Markdown, CSV, JSON and HTML files."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mae_bench.core.files import write_bytes, write_json
from mae_bench.core.job import Job
from mae_bench.report.frame import job_frame, long_frame
from mae_bench.report.leaderboard import GROUP, leaderboard
from mae_bench.report.notes import EXPLANATION, holes, notes, surroundings
from mae_bench.report.page import Content, caption, page
from mae_bench.report.table import (
    difference_table,
    escaped,
    job_table,
    main_table,
    markdown,
    plain,
)
from mae_bench.suite.plan import Plan
from mae_bench.suite.presets import PRESETS
from mae_bench.suite.store import Store
from mae_bench.suite.wording import duration

FIGURES = ("reconstructions", "partial", "detections", "segmentations")
SCHEMA = 1
OF_NUMBER = ["seed", "key", "value", "state", "reason", "seconds"]
"""What leaderboard.json says of each number of a cell."""


def write_report(
    plan: Plan, store: Store, folder: Path, blocked: Mapping[str, str] | None = None
) -> list[Path]:
    """Write leaderboard.md, .csv, .json, .html, long.csv and figures; return their paths.

    `blocked` (job key -> reason) tells what this machine cannot run. The same store gives the
    same bytes. A picture of an earlier report that no job has any more is deleted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frame, jobs = long_frame(plan, store, blocked), job_frame(plan, store, blocked)
    board = leaderboard(frame)
    results = [result for result in map(store.result, plan.jobs) if result is not None]
    content = Content(
        suite=plan.name,
        command=command(plan),
        main=main_table(board),
        difference=difference_table(board),
        jobs=job_table(jobs),
        explanation=EXPLANATION,
        notes=[*notes(board), *holes(frame), *_total(jobs), *surroundings(results)],
        figures=_copy_figures(plan, store, folder / "figures"),
    )
    texts = {
        "leaderboard.md": _markdown(content),
        "leaderboard.csv": board.to_csv(index=False, lineterminator="\n"),
        "leaderboard.html": page(content),
        "long.csv": frame.to_csv(index=False, lineterminator="\n"),
    }
    for name, text in texts.items():
        write_bytes(folder / name, text.encode())
    write_json(folder / "leaderboard.json", _json(content, frame, board, jobs))
    names = ("leaderboard.md", "leaderboard.csv", "leaderboard.json", "leaderboard.html")
    return [folder / name for name in (*names, "long.csv")] + list(content.figures)


def terminal_table(plan: Plan, store: Store) -> str:
    """Return the main table as aligned text, for the terminal."""
    return plain(main_table(leaderboard(long_frame(plan, store))))


def command(plan: Plan) -> str:
    """Return the command that makes the tables again."""
    preset = PRESETS.get(plan.name)
    ending = "" if preset is not None and preset() == plan.suite else ".toml"
    return f"mae-bench run --suite {plan.name}{ending}"


def _markdown(content: Content) -> str:
    """Return the whole leaderboard.md."""
    lines = [
        f"# Leaderboard of the suite `{content.suite}`",
        "",
        markdown(content.main),
        "",
        content.explanation,
        "",
        *(f"- {escaped(note)}" for note in content.notes),
        "",
        *(f"![{caption(path)}](figures/{path.name})\n" for path in content.figures),
        "## Differences to the baselines of the same architecture",
        "",
        markdown(content.difference),
        "",
        "## Where each number comes from",
        "",
        markdown(content.jobs),
        "",
        f"Made by `{content.command}`; all single numbers are in [long.csv](long.csv).",
        "",
    ]
    return "\n".join(lines)


def _json(
    content: Content, frame: pd.DataFrame, board: pd.DataFrame, jobs: pd.DataFrame
) -> dict[str, Any]:
    """Return what leaderboard.json holds, blanks as None."""
    groups = dict(iter(frame.groupby(GROUP, sort=False)))
    cells = []
    for cell in _records(board):
        numbers = groups[(cell["row"], cell["task"], cell["metric"])]
        del cell["keys"], cell["why"]
        cells.append(cell | {"numbers": _records(numbers[OF_NUMBER])})
    return {
        "schema": SCHEMA,
        "suite": content.suite,
        "command": content.command,
        "notes": list(content.notes),
        "cells": cells,
        "jobs": _records(jobs),
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the frame's lines with Python values, None for NaN."""
    blank = frame.astype(object).where(frame.notna(), None)
    return [{str(k): v for k, v in one.items()} for one in blank.to_dict("records")]


def _total(jobs: pd.DataFrame) -> list[str]:
    """Return how long the finished jobs took."""
    done = int((jobs["state"] == "done").sum())
    took = duration(float(jobs["seconds"].sum()))
    return [f"{done} of {len(jobs)} jobs are done; one after another they took {took}."]


def _copy_figures(plan: Plan, store: Store, folder: Path) -> list[Path]:
    """Copy the pictures that the MAE row's finished jobs left; return their new paths."""
    kept = []
    for name in FIGURES:
        path = folder / f"{name}.png"
        source = next(
            (found for job in _shown(plan, store) if (found := _figure(store, job, name))), None
        )
        if source is None:
            path.unlink(missing_ok=True)
            continue
        folder.mkdir(exist_ok=True)
        write_bytes(path, source.read_bytes())
        kept.append(path)
    return kept


def _shown(plan: Plan, store: Store) -> Iterator[Job]:
    """Return the finished jobs of the first MAE row, or of the first row if there is none."""
    assert plan.suite is not None
    rows = sorted(plan.suite.rows, key=lambda row: row.origin != "mae")
    for cell in plan.cells:
        if cell.row != rows[0].label:
            continue
        for job in cell.jobs:
            chain: list[Job] = [job]
            while (source := plan.source_of(chain[-1])) is not None:
                chain.append(source)
            yield from (one for one in reversed(chain) if store.result(one))


def _figure(store: Store, job: Job, name: str) -> Path | None:
    """Return the picture of that name in the job's folder, None if it left none."""
    path = store.dir(job) / "figures" / f"{name}.png"
    return path if path.is_file() else None
