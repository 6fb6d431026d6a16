"""The leaderboard as Markdown, CSV, JSON and HTML files."""

import json
import shutil
from pathlib import Path

import pandas as pd

from mae_bench.core.files import write_bytes
from mae_bench.report.frame import long_frame
from mae_bench.report.leaderboard import leaderboard, notes
from mae_bench.report.page import page
from mae_bench.report.table import difference_table, main_table, markdown, source_table
from mae_bench.suite.plan import Plan
from mae_bench.suite.store import Store

FIGURES = ("reconstructions", "detections", "segmentations")


def write_report(plan: Plan, store: Store, folder: Path) -> list[Path]:
    """Write leaderboard.md, .csv, .json, .html, long.csv and figures; return their paths.

    The same store gives the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frame = long_frame(plan, store)
    board = leaderboard(frame)
    figures = _copy_figures(plan, store, folder / "figures")
    files = {
        "leaderboard.md": _markdown(plan, frame, board, figures),
        "leaderboard.csv": board.to_csv(index=False),
        "leaderboard.json": _json(plan, board),
        "leaderboard.html": page(plan.name, frame, board, figures),
        "long.csv": frame.to_csv(index=False),
    }
    for name, text in files.items():
        write_bytes(folder / name, text.encode())
    return [folder / name for name in files] + figures


def markdown_table(plan: Plan, store: Store) -> str:
    """Return the main table alone, for the terminal."""
    return markdown(main_table(leaderboard(long_frame(plan, store))))


def _markdown(plan: Plan, frame: pd.DataFrame, board: pd.DataFrame, figures: list[Path]) -> str:
    """Return the whole leaderboard.md."""
    lines = [
        f"# Leaderboard of the suite `{plan.name}`",
        "",
        markdown(main_table(board)),
        "",
        "Mean ± standard deviation over seeds; `n/m` where seeds are missing. Bold: the best",
        "of its encoder size, and what lies within the pooled deviation over seeds of it.",
        "",
        *(f"- {note}" for note in notes(board)),
        "",
        "## Differences to the baselines",
        "",
        markdown(difference_table(board)),
        "",
        *(f"![{path.stem}](figures/{path.name})\n" for path in figures),
        "## Where each number comes from",
        "",
        markdown(source_table(frame)),
        "",
        f"Made by `mae-bench run --suite {plan.name}`.",
        "",
    ]
    return "\n".join(lines)


def _json(plan: Plan, board: pd.DataFrame) -> str:
    """Return the leaderboard as JSON, blanks as null."""
    rows = json.loads(board.to_json(orient="records", double_precision=10))
    content = {"suite": plan.name, "command": f"mae-bench run --suite {plan.name}", "cells": rows}
    return json.dumps(content, indent=1) + "\n"


def _copy_figures(plan: Plan, store: Store, folder: Path) -> list[Path]:
    """Copy the pictures that the first row's finished jobs left; return their new paths."""
    assert plan.suite is not None
    first = plan.suite.rows[0].label
    copied = []
    for name in FIGURES:
        for job in plan.jobs:
            source = store.dir(job) / "figures" / f"{name}.png"
            if job.row == first and store.result(job) is not None and source.is_file():
                folder.mkdir(exist_ok=True)
                copied.append(folder / source.name)
                shutil.copyfile(source, copied[-1])
                break
    return copied
