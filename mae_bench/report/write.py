"""The leaderboard as Markdown, CSV, JSON and HTML files."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from mae_bench.core.files import json_text, write_bytes
from mae_bench.core.job import Job
from mae_bench.core.names import check_own
from mae_bench.report.content import Content
from mae_bench.report.document import details, document
from mae_bench.report.frame import job_frame, long_frame
from mae_bench.report.kept import Report
from mae_bench.report.leaderboard import leaderboard
from mae_bench.report.notes import EXPLANATION, doubles, holes, notes
from mae_bench.report.page.build import caption, page
from mae_bench.report.per_image import replicates
from mae_bench.report.surroundings import mixed, surroundings
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
from mae_bench.suite.suite import Suite
from mae_bench.suite.tier import FULL
from mae_bench.suite.tiers import at_tier
from mae_bench.suite.wording import duration, one_line

FIGURES = ("reconstructions", "partial", "detections", "segmentations")


def write_report(
    plan: Plan, store: Store, folder: Path, blocked: Mapping[str, str] | None = None
) -> Report:
    """Write leaderboard.md, .csv, .json, .html, long.csv and figures.

    `blocked` (job key -> reason) tells what this machine cannot run. The same store gives the
    same bytes. A picture of an earlier report that no job has any more is deleted. ValueError if
    the folder is a symbolic link.
    """
    check_own(folder, "the folder of tables")
    check_own(folder / "figures", "the folder of tables")
    folder.mkdir(parents=True, exist_ok=True)
    frame, jobs = long_frame(plan, store, blocked), job_frame(plan, store, blocked)
    board = leaderboard(frame, partial(replicates, store.root))
    made = [(job, result) for job in plan.jobs if (result := store.result(job)) is not None]
    content = Content(
        suite=plan.name,
        command=command(plan),
        main=main_table(board),
        difference=difference_table(board),
        jobs=job_table(jobs),
        explanation=EXPLANATION,
        notes=[*notes(board), *holes(frame), *doubles(frame), *_total(jobs), *surroundings(made)],
        figures=_copy_figures(plan, store, folder / "figures"),
    )
    texts = {
        "leaderboard.md": _markdown(content),
        "leaderboard.csv": board.to_csv(index=False, lineterminator="\n"),
        "index.html": page(content),
        "long.csv": frame.to_csv(index=False, lineterminator="\n"),
    }
    texts["leaderboard.json"] = json_text(
        document(content, frame, board, details(jobs, plan, store))
    )
    for name, text in texts.items():
        _write(folder / name, text.encode())
    names = ("leaderboard.md", "leaderboard.csv", "leaderboard.json", "index.html")
    paths = [folder / name for name in (*names, "long.csv")] + list(content.figures)
    return Report(tuple(paths), "\n".join([plain(content.main), *map(one_line, mixed(made))]))


def _write(path: Path, content: bytes) -> None:
    """Write the file unless it is so already: what is unchanged keeps its time."""
    if not path.is_file() or path.read_bytes() != content:
        write_bytes(path, content)


def command(plan: Plan) -> str:
    """Return the command that makes the tables again."""
    assert plan.suite is not None
    tier = plan.suite.tier
    name = plan.name.removesuffix(f"-{tier}")
    file = "" if _is_preset(plan.suite, name) else ".toml"
    return f"mae-bench run --suite {name}{file}{f' --tier {tier}' * (tier != FULL)}"


def _is_preset(suite: Suite, name: str) -> bool:
    """Return whether the suite is the preset of that name, at its tier."""
    try:
        return name in PRESETS and at_tier(PRESETS[name](), suite.tier) == suite
    except ValueError:  # a tier that the preset does not have
        return False


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
        _write(path, source.read_bytes())
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
    return path if path.is_file() and not path.is_symlink() else None
