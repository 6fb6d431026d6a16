"""The leaderboard as one HTML file that needs nothing beside it: no network, no other file."""

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from mae_bench.report.efficiency import EXPLANATION as COSTS
from mae_bench.report.page.board import Board, board_of, main_table
from mae_bench.report.page.controls import controls
from mae_bench.report.page.details import row_details
from mae_bench.report.page.differences import baseline_table, published_table
from mae_bench.report.page.markup import Html, element, joined
from mae_bench.report.page.sections import (
    agreement_table,
    efficiency_table,
    figures,
    job_table,
    sentences,
)
from mae_bench.report.page.words import hours, plural

READING = (
    "Best: no test at 5 % tells it from the best mean of its architecture (Holm's correction for "
    "all pairs of the column); none is marked where that would be all. How each interval is found, "
    "and what it does not cover: docs/statistics.md. FLOPs are multiply-adds of one forward pass, "
    "counted by fvcore. A name leads to all that is known of its row, a number to its job."
)
LEGEND = (
    ("58.0 [57.2, 58.8]", "mean over seeds and its 95 % interval; point at it for its basis"),
    ("● 58.0", "the best of its architecture, and all that cannot be told apart from it"),
    ("2/3", "only two of three seeds have a number, so there is no mean"),
    ("≈ ≠", "within and outside the noise beside the published number"),
)
DIFFERENCES = (
    "Positive where the number is higher. Lines are 95 % intervals. A full dot is told from zero "
    "at 5 % (p, corrected by Holm for being one of many); a hollow one is not, or nothing is known."
)
DATA = ("leaderboard.csv", "leaderboard.json", "leaderboard.md", "leaderboard.tex", "long.csv")


def page(document: Mapping[str, Any], folder: Path) -> str:
    """Return the page of a document whose figures lie in the folder.

    All text is escaped. Without a script everything is there to be read; the script sorts,
    filters and opens details.
    """
    board = board_of(document)
    parts = _parts(document, board, folder)
    style, script = _asset("page.css"), _asset("page.js")
    sections = [_section(name, title, *inside) for name, title, inside in parts]
    contents = [element("a", name.capitalize(), href=f"#{name}") for name, _, _ in parts]
    return Template(_asset("page.html")).substitute(
        policy=_policy(style, script),
        style=style,
        script=script,
        title=element("title", f"{document['suite']} · mae-bench"),
        name=joined([str(document["suite"])]),
        summary=joined([_summary(document, board)]),
        contents=joined([element("li", link) for link in contents]),
        sections=joined(sections, "\n"),
        command=element("code", document["command"]),
        data=joined([element("a", name, href=name) for name in DATA], " · "),
    )


def _parts(
    document: Mapping[str, Any], board: Board, folder: Path
) -> list[tuple[str, str, tuple[Html, ...]]]:
    """Return anchor, title and content of each section that has any."""
    jobs = document["jobs"]
    found: list[tuple[str, str, tuple[Html | None, ...]]] = [
        ("table", "Leaderboard", (controls(board), main_table(board), _legend())),
        ("notes", "In words", (sentences(document["notes"]),)),
        ("published", "Beside the published numbers", (published_table(board),)),
        ("differences", "Differences to the baselines", _read(DIFFERENCES, baseline_table(board))),
        ("costs", "What each number costs", _read(COSTS, efficiency_table(document["efficiency"]))),
        (
            "agreement",
            "Do the columns rank alike?",
            (agreement_table(document["rank_agreement"], board.columns),),
        ),
        ("figures", "Figures", (figures(document["figures"], folder),)),
        ("jobs", "Jobs", (job_table(jobs),)),
        ("details", "Every row in detail", (row_details(board, jobs),)),
    ]
    kept = []
    for name, title, content in found:
        inside = tuple(part for part in content if part is not None)
        if inside:
            kept.append((name, title, inside))
    return kept


def _read(words: str, found: Html | None) -> tuple[Html, ...]:
    """Return a table under the words that say how it is read, if there is one."""
    return () if found is None else (element("p", words, class_="read"), found)


def _section(name: str, title: str, *content: Html) -> Html:
    """Return a section under its heading."""
    head = element("h2", title, id=f"{name}-title")
    return element("section", head, *content, id=name, aria_labelledby=f"{name}-title")


def _legend() -> Html:
    """Return what the signs of the main table mean, and how it is read."""
    pairs = [element("div", element("dt", sign), element("dd", text)) for sign, text in LEGEND]
    return joined([element("dl", *pairs, class_="legend"), element("p", READING, class_="read")])


def _summary(document: Mapping[str, Any], board: Board) -> str:
    """Return in one line how much is in the tables."""
    ours = sum(row["kind"] == "ours" for row in board.rows)
    jobs = document["jobs"]
    done = [job for job in jobs if job["state"] == "done"]
    spent = sum(job["gpu_hours"] or 0.0 for job in done)
    parts = [plural(ours, "encoder")]
    if len(board.rows) > ours:
        parts.append(f"{len(board.rows) - ours} published")
    parts.append(plural(len(board.columns), "number") + " each")
    if jobs:
        parts.append(f"{len(done)} of {plural(len(jobs), 'job')} done")
        parts += [f"{hours(spent)} of GPUs"] if spent else []
    return " · ".join(parts)


@cache
def _asset(name: str) -> str:
    """Return a file that lies beside this one in the package."""
    return files("mae_bench.report.page").joinpath(name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """Return a policy that lets nothing run or load but what the page itself holds."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    """Return the hash by which a policy knows a text."""
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
