"""All figures of a leaderboard, written beside the tables."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from mae_bench.report.figures import bars, curves, losses, scatter
from mae_bench.report.figures.figure import Figure
from mae_bench.report.figures.pictures import PICTURES, pictures
from mae_bench.report.figures.style import looks
from mae_bench.suite.plan import Plan
from mae_bench.suite.store import Store

log = logging.getLogger(__name__)

SCATTERS = (scatter.PRETRAINING, scatter.PARAMETERS, scatter.EFFICIENCY)
OURS = (bars.NAME, *(one.name for one in SCATTERS), curves.NAME, losses.NAME, *PICTURES)
"""Names of files that a report may delete."""


@dataclass(frozen=True)
class Shown:
    """What figures are drawn from."""

    plan: Plan
    store: Store
    board: pd.DataFrame
    published: pd.DataFrame
    """Published numbers of the board's columns: row, arch, origin, epochs, task, variant, metric,
    mean, source; may be empty."""
    costs: pd.DataFrame
    """What `efficiency` returns for these."""


@dataclass(frozen=True)
class Drawn:
    """What became of the figures."""

    figures: tuple[Figure, ...]
    notes: tuple[str, ...]
    """A sentence for each figure that could not be drawn."""


def figures(shown: Shown, folder: Path) -> Drawn:
    """Draw what there is data for into folder/figures; delete what an earlier report left there.

    Each figure is NAME.svg, NAME.png and NAME.csv, the data that it shows; photographs have no svg.
    The same store gives the same bytes. A figure that cannot be drawn is a note, never an error.
    """
    into = folder / "figures"
    made: list[Figure] = []
    notes: list[str] = []
    for name, draw in _drawers(shown, into).items():
        try:
            made += draw()
        except Exception as error:
            reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            log.warning("the figure %s could not be drawn: %s", name, reason)
            notes.append(f"The figure {name} could not be drawn ({reason}).")
    _delete_stale(into, {path for one in made for path in one.files})
    return Drawn(tuple(made), tuple(notes))


def _drawers(shown: Shown, into: Path) -> dict[str, Callable[[], Sequence[Figure]]]:
    """Return what draws each figure, in the order of the report."""
    assert shown.plan.suite is not None
    rows = [(row.label, row.origin) for row in shown.plan.suite.rows]
    look = looks(rows)
    return {
        bars.NAME: lambda: bars.bars(shown.board, look, into),
        **{one.name: partial(scatter.scatter, one, shown.costs, look, into) for one in SCATTERS},
        curves.NAME: lambda: curves.curves(shown.costs, look, into),
        losses.NAME: lambda: losses.losses(shown.plan, shown.store, look, into),
        "pictures": lambda: pictures(shown.plan, shown.store, into),
    }


def _delete_stale(folder: Path, kept: set[Path]) -> None:
    """Delete figures of an earlier report; what is not ours stays."""
    ours = re.compile(rf"({'|'.join(OURS)})(-\d+)?\.(svg|png|csv)")
    for path in sorted(folder.glob("*")):
        if ours.fullmatch(path.name) and path not in kept and not path.is_dir():
            path.unlink()
