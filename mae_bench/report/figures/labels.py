"""Names beside the points of a panel, placed so that nothing lies on anything else."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from mae_bench.report.figures.style import fitted, text_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = 7.5
"""Points of a letter."""
RADIUS = 4.0
"""Points from the middle of a marker to its edge."""
NAMES = 1.6
"""Inches right of lines, for their names."""
STEPS = (2.0, 9.0, 17.0)
"""Points between marker and name that are tried, nearest first."""
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
HORIZONTAL = {1: "left", 0: "center", -1: "right"}
VERTICAL = {1: "bottom", 0: "center", -1: "top"}


@dataclass(frozen=True)
class Point:
    """A point of a panel, in its data's units, and its name."""

    x: float
    y: float
    text: str
    colour: str


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: "Box") -> bool:
        """Return whether the two have an area in common."""
        across = self.left < other.right and other.left < self.right
        return across and self.bottom < other.top and other.bottom < self.top

    def within(self, other: "Box") -> bool:
        """Return whether it lies wholly inside the other."""
        across = other.left <= self.left and self.right <= other.right
        return across and other.bottom <= self.bottom and self.top <= other.top


@dataclass(frozen=True)
class Stroke:
    """A line of a panel, upright or level, in its data's units."""

    x: tuple[float, float]
    y: tuple[float, float]


def name_points(axes: "Axes", points: Sequence[Point], strokes: Sequence[Stroke] = ()) -> int:
    """Write each point's name where there is room; return how many have no room.

    Those that come first choose first. The panel's limits must be final.
    """
    frame = axes.bbox
    room = Box(frame.x0, frame.y0, frame.x1 + 4, frame.y1 + 2)
    pixel = _figure(axes).dpi / 72
    taken = [_marker(axes, point, pixel) for point in points]
    taken += [_track(axes, stroke) for stroke in strokes]
    nameless = 0
    for point in points:
        found = _place(axes, point, room, taken)
        if found is None:
            nameless += 1
            continue
        (x, y), (across, up), box = found
        taken.append(box)
        axes.annotate(
            point.text,
            (point.x, point.y),
            (x, y),
            textcoords="offset points",
            ha=HORIZONTAL[across],
            va=VERTICAL[up],
            fontsize=SIZE,
            color=point.colour,
        )
    return nameless


def name_ends(axes: "Axes", points: Sequence[Point], start: float) -> None:
    """Write the names of lines right of them, one below the other, joined to their last points.

    The horizontal axis goes from `start` to where the names end.
    """
    frame = axes.bbox
    figure = _figure(axes)
    share = NAMES * figure.dpi / frame.width
    end = max(point.x for point in points)
    axes.set_xlim(start, end + (end - start) * share / (1 - share))
    axes.set_xticks([tick for tick in axes.get_xticks() if start <= tick <= end])
    high = text_size(figure, "X", SIZE)[1] * 1.5
    across = axes.transData.transform
    x = max(float(across((point.x, point.y))[0]) for point in points) + 14
    ordered = sorted(points, key=lambda point: -float(across((point.x, point.y))[1]))
    wanted = [float(across((point.x, point.y))[1]) for point in ordered]
    for point, y in zip(
        ordered, _apart(wanted, high, (frame.y0 + high / 2, frame.y1)), strict=True
    ):
        axes.annotate(
            fitted(figure, point.text, SIZE, figure.bbox.x1 - x),
            (point.x, point.y),
            (x, y),
            textcoords="figure pixels",
            va="center",
            fontsize=SIZE,
            color=point.colour,
            arrowprops={
                "arrowstyle": "-",
                "color": point.colour,
                "lw": 0.5,
                "shrinkB": 2,
                "relpos": (0, 0.5),
            },
        )


def _apart(wanted: Sequence[float], high: float, room: tuple[float, float]) -> list[float]:
    """Return falling heights as near to the wanted ones as can be, each `high` below the last.

    Those that are too close share the places around their mean; what would leave the room is
    pushed back into it.
    """
    blocks: list[list[float]] = []
    for place, y in enumerate(wanted):
        blocks.append([y + place * high])
        while len(blocks) > 1 and fmean(blocks[-2]) < fmean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    means = [fmean(block) for block in blocks for _ in block]
    heights = [min(mean, room[1]) - place * high for place, mean in enumerate(means)]
    floor = room[0]
    for place in reversed(range(len(heights))):
        heights[place] = max(heights[place], floor)
        floor = heights[place] + high
    return heights


def _marker(axes: "Axes", point: Point, pixel: float) -> Box:
    """Return the box of a point's marker."""
    x, y = axes.transData.transform((point.x, point.y))
    half = RADIUS * pixel
    return Box(x - half, y - half, x + half, y + half)


def _track(axes: "Axes", stroke: Stroke) -> Box:
    """Return the box of a line, a pixel wide to either side."""
    (x, y), (u, v) = axes.transData.transform(list(zip(stroke.x, stroke.y, strict=True)))
    return Box(min(x, u) - 1, min(y, v) - 1, max(x, u) + 1, max(y, v) + 1)


def _figure(axes: "Axes") -> "Figure":
    """Return the panel's figure."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def _place(
    axes: "Axes", point: Point, room: Box, taken: Sequence[Box]
) -> tuple[tuple[float, float], tuple[int, int], Box] | None:
    """Return offset in points, side and box of the first place with room; None without any."""
    pixel = _figure(axes).dpi / 72
    wide, high = text_size(_figure(axes), point.text, SIZE)
    x, y = axes.transData.transform((point.x, point.y))
    for step in STEPS:
        for across, up in SIDES:
            slant = 0.7 if across and up else 1.0
            reach = (RADIUS + step) * slant
            left = x + across * reach * pixel - wide * (1 - across) / 2
            bottom = y + up * reach * pixel - high * (1 - up) / 2
            box = Box(left, bottom, left + wide, bottom + high)
            if box.within(room) and not any(box.meets(other) for other in taken):
                return (across * reach, up * reach), (across, up), box
    return None
