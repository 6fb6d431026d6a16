"""All figures of a leaderboard, written beside the tables."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mae_bench.report.figures.figure import Figure
from mae_bench.report.figures.pictures import PICTURES, pictures
from mae_bench.suite.plan import Plan
from mae_bench.suite.store import Store

log = logging.getLogger(__name__)


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
    made: list[Figure] = []
    notes: list[str] = []
    drawers: dict[str, Callable[[Shown, Path], Sequence[Figure]]] = {
        "pictures": lambda all_of_it, into: pictures(all_of_it.plan, all_of_it.store, into),
    }
    for name, draw in drawers.items():
        try:
            made += draw(shown, folder / "figures")
        except Exception as error:
            reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            log.warning("the figure %s could not be drawn: %s", name, reason)
            notes.append(f"The figure {name} could not be drawn ({reason}).")
    _delete_stale(folder / "figures", {path for one in made for path in one.files})
    return Drawn(tuple(made), tuple(notes))


def _delete_stale(folder: Path, kept: set[Path]) -> None:
    """Delete figures of an earlier report; what is not ours stays."""
    ours = re.compile(rf"({'|'.join(PICTURES)})(-\d+)?\.(svg|png|csv)")
    for path in sorted(folder.glob("*")):
        if ours.fullmatch(path.name) and path not in kept:
            path.unlink()
