"""Differences: to the baselines of the same architecture, and to the published twins."""

from collections.abc import Iterable, Mapping

from mae_bench.report.differences import BASELINE_NAMES, SETTLED
from mae_bench.report.page.board import Board
from mae_bench.report.page.markup import Html, element, heading, joined, said, table
from mae_bench.report.page.words import (
    ARROWS,
    SIGNS,
    Line,
    basis,
    interval,
    p_value,
    titled,
)
from mae_bench.report.table import number, signed

WIDTH, HEIGHT, RADIUS = 140, 14, 3.5


def baseline_table(board: Board) -> Html | None:
    """Return each metric's differences to the baselines, None where there are none."""
    bodies = []
    for column in board.columns:
        cells = [
            cell for row in board.rows if (cell := board.cells.get((row["row"], column["id"])))
        ]
        lines = [
            cell for cell in cells if any(cell.get(name) is not None for name in BASELINE_NAMES)
        ]
        if lines:
            bodies.append(_of_column(column, lines))
    if not bodies:
        return None
    headings = [heading("Encoder"), heading("Mean", "n")]
    for origin in BASELINE_NAMES.values():
        headings += [heading(f"Difference to {origin}", "n"), _plot_heading(origin)]
    return table("Differences to the baselines", headings, bodies, "small differences")


def published_table(board: Board) -> Html | None:
    """Return our numbers beside the published ones, None where there are none."""
    lines = []
    for row in board.rows:
        for column, cell in board.of_row(row):
            if cell.get("published") is not None:
                lines.append(_published_line(column, cell))
    if not lines:
        return None
    names = {
        "Encoder": "",
        "Metric": "",
        "Ours": "n",
        "Published": "n",
        "Difference": "n",
        "Agreement": "",
        "Source": "",
    }
    headings = [heading(name, kind) for name, kind in names.items()]
    body = element("tbody", *lines)
    return table("Our numbers beside the published ones", headings, [body], "small")


def _plot_heading(origin: str) -> Html:
    """Return the heading of a plot's column: what its middle is."""
    return element("th", said(f"Plot of it, {origin} in the middle"), scope="col")


def _of_column(column: Line, cells: list[Line]) -> Html:
    """Return a metric's lines under its name; a column of plots has one scale."""
    arrow = element("span", ARROWS[column["higher_is_better"]], class_="way", aria_hidden="true")
    name = joined([titled(column), arrow, element("small", column["task"])], " ")
    title = element("tr", element("th", name, colspan=6, scope="rowgroup"), class_="band")
    scales = {name: _reach(cells, name) for name in BASELINE_NAMES}
    return element("tbody", title, *(_line(cell, scales) for cell in cells))


def _reach(cells: Iterable[Line], name: str) -> float:
    """Return how far from zero a column of plots must reach."""
    values = (cell.get(f"{name}{end}") for cell in cells for end in ("", "_low", "_high"))
    return max((abs(value) for value in values if value is not None), default=0.0)


def _line(cell: Line, scales: Mapping[str, float]) -> Html:
    """Return a row's differences in one metric."""
    parts = [
        element("th", cell["row"], scope="row"),
        element("td", number(cell["mean"], cell["digits"]), class_="n"),
    ]
    for name in BASELINE_NAMES:
        parts += [_difference(cell, name), element("td", _plot(cell, name, scales[name]))]
    return element("tr", *parts)


def _difference(cell: Line, name: str) -> Html:
    """Return one difference with its interval, its p-value and where they come from."""
    value = cell.get(name)
    if value is None:
        return element("td", class_="n")
    sure = interval(cell, f"{name}_")
    words = basis(cell.get(f"{name}_basis"))
    small = " ".join(filter(None, (sure, p_value(cell.get(f"{name}_p"))))) or "no interval"
    inner = element("span", signed(value, cell["digits"]), class_="value")
    return element("td", inner, element("small", small), class_="n", title=words)


def _plot(cell: Line, name: str, scale: float) -> str:
    """Return dot and interval with zero in the middle; full if it is told from zero."""
    value, low, high = (cell.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if value is None or not scale:
        return ""
    middle, room = WIDTH / 2, WIDTH / 2 - RADIUS - 1
    parts = [element("line", x1=f"{middle:g}", x2=f"{middle:g}", y1=0, y2=HEIGHT, class_="zero")]
    if low is not None and high is not None:
        ends = [f"{middle + end / scale * room:.1f}" for end in (low, high)]
        parts.append(element("line", x1=ends[0], x2=ends[1], y1=HEIGHT / 2, y2=HEIGHT / 2))
    p = cell.get(f"{name}_p")
    kind = "dot told" if p is not None and p < SETTLED else "dot"
    place = f"{middle + value / scale * room:.1f}"
    parts.append(element("circle", cx=place, cy=HEIGHT / 2, r=RADIUS, class_=kind))
    return element("svg", *parts, class_="plot", width=WIDTH, height=HEIGHT, aria_hidden="true")


def _published_line(column: Line, cell: Line) -> Html:
    """Return one of our numbers beside its published twin."""
    digits = cell["digits"]
    agreement = cell.get("agreement") or ""
    ours = number(cell["mean"], digits) or f"{cell['n']}/{cell['m']}"
    sign = element("b", SIGNS.get(agreement, ""), aria_hidden="true")
    name = joined([titled(column), element("small", column["task"])])
    source = "; ".join(filter(None, (cell.get("published_by"), cell.get("published_note"))))
    return element(
        "tr",
        element("th", cell["row"], scope="row"),
        element("td", name),
        element("td", ours, element("small", interval(cell)), class_="n"),
        element("td", number(cell["published"], digits), class_="n"),
        element("td", signed(cell.get("delta_published"), digits), class_="n"),
        element("td", joined([sign, agreement or "cannot be said"], " ")),
        element("td", source, class_="src"),
    )
