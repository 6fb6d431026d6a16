"""How every figure looks: sizes, fonts, and a colour and shape for each row."""

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mae_bench.core.files import update_bytes
from mae_bench.report.figures.figure import write_data
from mae_bench.suite.wording import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.6
"""Inches, at which letters of 8 points are readable across a page."""
DPI = 150
INK, GREY, SOFT = "#222222", "#767676", "#e4e4e4"
"""Text, what others published, and grids."""
COLOURS = {"mae": "#0072b2", "supervised": "#d55e00", "random_init": "#009e73"}
"""Of Okabe and Ito, by the origin of a row's encoder."""
FURTHER = ("#cc79a7", "#e69f00", "#56b4e9", "#8c6d1f", "#5b3a8c")
"""For other origins, in the order of the rows."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
LINES: tuple[Any, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1, 1.5)),
    (0, (6, 2, 1, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
)
LONGEST = 26
"""Characters of a label."""
RULES: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": SOFT,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "text.parse_math": False,  # a label with two dollar signs is no formula
    "axes.unicode_minus": True,
    "svg.fonttype": "path",  # the same letters wherever it is opened
    "svg.hashsalt": "mae-bench",  # ids that do not change from time to time
    "path.simplify": True,
}


@dataclass(frozen=True)
class Look:
    """A row's colour and shape: the colour by its encoder's origin, the shape by its turn."""

    colour: str
    marker: str
    line: Any


@dataclass(frozen=True)
class Room:
    """How panels lie on a sheet, in inches."""

    wide: int
    """Panels beside each other."""
    high: float
    """Of one panel with its title and axis."""
    left: float = 0.55
    """For the numbers or names of the vertical axis."""
    margin: float = 0.0
    """Left of all panels, for names that those of a row share."""
    bottom: float = 0.33
    """For the numbers of the horizontal axis."""


TOP, RIGHT = 0.3, 0.1
"""Inches for a panel's title, and to the panel beside it."""
PUBLISHED = Look(GREY, "o", (0, (1, 2)))
"""Of what others published: grey and hollow."""
INDENTATION = re.compile(rb"\n +")
"""A tenth of an svg."""


def looks(rows: Sequence[tuple[str, str]]) -> dict[str, Look]:
    """Return a look for each (row, origin); rows of one origin share a colour, not a shape."""
    turns: dict[str, int] = {}
    colours = dict(COLOURS)
    found = {}
    for row, origin in rows:
        turn = turns[origin] = turns.get(origin, -1) + 1
        further = FURTHER[(len(colours) - len(COLOURS)) % len(FURTHER)]
        colour = colours.setdefault(origin, further)
        found[row] = Look(
            colour,
            MARKERS[turn % len(MARKERS)],
            LINES[turn % len(LINES)],
        )
    return found


def label(text: str) -> str:
    """Return a row's name on one line, shortened if it is very long."""
    text = one_line(text)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def number(value: float) -> str:
    """Return a number for an axis: no more digits than needed, thousands apart."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}".replace("-", "−") if abs(value) >= 1e-4 else f"{value:.0e}"


@contextmanager
def sheet(height: float) -> Iterator["Figure"]:
    """Yield an empty figure of the page's width, under our rules of drawing."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    usual: Any = {k: v for k, v in matplotlib.rcParamsDefault.items() if "backend" not in k}
    with matplotlib.rc_context(usual | RULES), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # letters that the font does not have
        figure = Figure(figsize=(WIDTH, height), dpi=DPI)
        FigureCanvasAgg(figure)
        yield figure


def panels(figure: "Figure", count: int, room: Room) -> list["Axes"]:
    """Return that many panels from the top, row by row.

    Their places are computed here, since matplotlib's own layouts draw everything five times.
    """
    wide, high = (WIDTH - room.margin) / room.wide, room.high
    height = figure.get_figheight()
    made = []
    for place in range(count):
        row, column = divmod(place, room.wide)
        left, bottom = (
            room.margin + column * wide + room.left,
            height - (row + 1) * high + room.bottom,
        )
        size = wide - room.left - RIGHT, high - room.bottom - TOP
        made.append(
            figure.add_axes((left / WIDTH, bottom / height, size[0] / WIDTH, size[1] / height))
        )
    return made


def text_size(figure: "Figure", text: str, points: float) -> tuple[float, float]:
    """Return width and height of a text in pixels."""
    from matplotlib.font_manager import FontProperties

    canvas: Any = figure.canvas
    wide, high, _ = canvas.get_renderer().get_text_width_height_descent(
        text, FontProperties(size=points), ismath=False
    )
    return wide, high


def fitted(figure: "Figure", text: str, points: float, pixels: float) -> str:
    """Return as much of a text as is no wider than that."""
    shown = text
    while len(shown) > 1 and text_size(figure, shown, points)[0] > pixels:
        shown = shown.rstrip("…")[:-1] + "…"
    return shown


def write(figure: "Figure", stem: Path, data: pd.DataFrame) -> tuple[Path, ...]:
    """Write the figure as svg and png and its data as csv; return their paths.

    The same figure has the same bytes: no dates, no names of programs.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, dict[str, Any]] = {
        "svg": {"Date": None, "Creator": None},
        "png": {"Software": None},
    }
    paths = []
    for kind, about in kinds.items():
        stream = io.BytesIO()
        figure.savefig(stream, format=kind, metadata=about)
        path = stem.with_name(f"{stem.name}.{kind}")
        update_bytes(
            path, INDENTATION.sub(b"\n", stream.getvalue()) if kind == "svg" else stream.getvalue()
        )
        paths.append(path)
    return (*paths, write_data(stem.with_name(f"{stem.name}.csv"), data))
