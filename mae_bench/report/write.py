"""A leaderboard's files: tables for people and programs, figures, and the page of all suites."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path

import pandas as pd

from mae_bench.core.files import json_text, update_bytes
from mae_bench.core.names import check_own
from mae_bench.report.agreement import agreements
from mae_bench.report.beside import notes_on_others
from mae_bench.report.document import SCHEMA, Document, Numbers, Words, details, document
from mae_bench.report.efficiency import efficiency
from mae_bench.report.figures.build import Shown, figures
from mae_bench.report.flawed import notes_on_flaws, with_flaws
from mae_bench.report.frame import job_frame, long_frame
from mae_bench.report.imported import imported
from mae_bench.report.kept import FRONT_PAGE, Report
from mae_bench.report.latex import latex
from mae_bench.report.leaderboard import leaderboard
from mae_bench.report.markdown import MARK, front_page, front_part, leaderboard_text
from mae_bench.report.notes import DRAWN, EXPLANATION, doubles, doubts, holes, notes
from mae_bench.report.page.build import page
from mae_bench.report.per_image import replicates
from mae_bench.report.protocols import protocols
from mae_bench.report.published import Reference, published
from mae_bench.report.rows import (
    columns_of,
    deviations_of,
    numbers_of_others,
    order,
    own_rows,
    rows_of_others,
)
from mae_bench.report.surroundings import mixed, surroundings
from mae_bench.report.table import plain
from mae_bench.report.tables import terminal_table
from mae_bench.report.twins import with_twins
from mae_bench.suite.plan import Plan
from mae_bench.suite.presets import PRESETS
from mae_bench.suite.store import Store
from mae_bench.suite.suite import Suite
from mae_bench.suite.tier import FULL
from mae_bench.suite.tiers import at_tier
from mae_bench.suite.wording import duration, one_line

JSON = "leaderboard.json"
FORMATS: dict[str, Callable[[Document], str]] = {
    "leaderboard.md": leaderboard_text,
    "leaderboard.tex": latex,
    JSON: json_text,
}
"""Files that are made of the document alone."""


def write_report(
    plan: Plan, store: Store, folder: Path, blocked: Mapping[str, str] | None = None
) -> Report:
    """Write all tables and figures into the folder, and the page of all suites beside it.

    `blocked` (job key -> reason) tells what this machine cannot run. The same store gives the
    same bytes. A figure of an earlier report that there is no more is deleted. ValueError if the
    folder is a symbolic link.
    """
    check_own(folder, "the folder of tables")
    check_own(folder / "figures", "the folder of tables")
    folder.mkdir(parents=True, exist_ok=True)
    brought = imported(store.root)
    numbers = gathered(plan, store, blocked, (*published(), *brought.references))
    others = numbers_of_others(numbers.rows, numbers.columns)
    drawn = figures(Shown(plan, store, numbers.board, others, numbers.efficiency), folder)
    flawed = notes_on_flaws(numbers.rows)
    made = [(job, result) for job in plan.jobs if (result := store.result(job)) is not None]
    said = [
        *notes(numbers.board),
        *flawed,
        *notes_on_others(numbers.columns, numbers.rows),
        *protocols(plan),
        *brought.problems,
        *holes(numbers.frame),
        *doubts(numbers.frame, partial(replicates, store.root)),
        *doubles(numbers.frame),
        *_total(numbers.jobs),
        *surroundings(made),
        *drawn.notes,
    ]
    caution = "" if plan.demo_data is None else DRAWN
    words = Words(plan.name, command(plan), EXPLANATION, said, caution)
    whole = document(words, numbers, details(numbers.jobs, plan, store), drawn.figures)
    paths = [*_files(whole, numbers, folder), *(p for one in drawn.figures for p in one.files)]
    aside = _front_page(folder)
    below = [*filter(None, [caution]), *flawed, *mixed(made), *aside]
    lines = [plain(terminal_table(whole)), *map(one_line, below)]
    return Report(tuple(paths), "\n".join(lines))


def gathered(
    plan: Plan,
    store: Store,
    blocked: Mapping[str, str] | None,
    references: tuple[Reference, ...],
) -> Numbers:
    """Return the numbers of the suite, with those of others that may stand beside them."""
    frame = long_frame(plan, store, blocked)
    board = leaderboard(frame, partial(replicates, store.root))
    columns = columns_of(frame)
    ours = with_flaws(own_rows(frame, deviations_of(plan, store)), plan, store)
    found = [*ours, *rows_of_others(frame, columns, references)]
    rows = [found[place] for place in order((row.kind, row.arch, row.stamp) for row in found)]
    return Numbers(
        columns=columns,
        rows=rows,
        frame=frame,
        board=with_twins(board, frame, references),
        jobs=job_frame(plan, store, blocked),
        efficiency=efficiency(frame, board, numbers_of_others(rows, columns)),
        rank_agreement=agreements(board, plan, store),
    )


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


def _files(whole: Document, numbers: Numbers, folder: Path) -> list[Path]:
    """Write the tables, those alone that are not so already; return their paths."""
    contents = {name: write(whole).encode() for name, write in FORMATS.items()}
    contents["index.html"] = page(whole, folder).encode()
    contents["leaderboard.csv"] = _csv(numbers.board)
    contents["long.csv"] = _csv(numbers.frame)
    contents["long.parquet"] = _parquet(numbers.frame)
    for name, content in contents.items():
        update_bytes(folder / name, content)
    return [folder / name for name in contents]


def _csv(frame: pd.DataFrame) -> bytes:
    """Return the frame as CSV."""
    return bytes(frame.to_csv(index=False, lineterminator="\n").encode())


def _parquet(frame: pd.DataFrame) -> bytes:
    """Return the frame as Parquet, in which numbers stay what they are."""
    stream = BytesIO()
    frame.to_parquet(stream, index=False)
    return stream.getvalue()


def _front_page(folder: Path) -> list[str]:
    """Write the page of all suites beside the folder; return what it could not take in.

    That is somebody else's page in its place, and tables that are damaged or not ours.
    """
    path = folder.parent / FRONT_PAGE
    if path.is_file() and not path.read_text(errors="replace").startswith(MARK):
        return [f"{path} is not one of mae-bench's, so it is left as it is"]
    parts, said = [], []
    for file in sorted(folder.parent.glob(f"*/{JSON}")):
        try:
            found = json.loads(file.read_text())
            if found["schema"] == SCHEMA:
                parts.append(front_part(file.parent.name, found))
        except Exception:  # whatever is in a file that no report of ours wrote
            said.append(
                f"{file} is no leaderboard that can be read, so {path.name} is without it; write "
                "it again with `mae-bench report`, or move it away"
            )
    update_bytes(path, front_page(parts).encode())
    return said


def _total(jobs: pd.DataFrame) -> list[str]:
    """Return how long the finished jobs took."""
    done = int((jobs["state"] == "done").sum())
    took = duration(float(jobs["seconds"].sum()))
    return [f"{done} of {len(jobs)} jobs are done; one after another they took {took}."]
