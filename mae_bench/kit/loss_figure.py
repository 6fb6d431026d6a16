"""The picture of a training: its loss and the parts of it, spread and learning rate below."""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mae_bench.core.files import METRICS
from mae_bench.kit.figures import drawing, write_plot

log = logging.getLogger(__name__)

NAME = "loss.png"
COLOUR, GREY, SOFT = "#1f6f8b", "#8a8a8a", "#e6e6e6"
PARTS = ("#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#7a6bb0", "#555555", "#b0a000")
"""Colours of the parts of a loss."""
LOG_ABOVE = 20.0
"""The axis is logarithmic if the curve's highest value is that many times its lowest."""
SPREAD = "output_std"
"""Spread of a siamese objective's outputs, 0 where they have collapsed."""
WINDOW = 0.02
"""Part of the run over which the curve is averaged."""


@dataclass(frozen=True)
class Curve:
    """A value over the steps of a run."""

    steps: list[int]
    values: list[float]


def loss_figure(out: Path) -> None:
    """Draw figures/loss.png from metrics.jsonl; nothing if no line has a loss.

    What cannot be drawn is a warning, never an error.
    """
    if not any(b'"loss"' in line for line in _raw_lines(out)):
        log.debug("no loss to draw in %s", METRICS)
        return
    with drawing(out, NAME) as path:
        _draw(path, read_run(out))


def read_run(out: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl that have a loss, in the order of their steps.

    Of what a resumed run did twice the later counts; lines that are broken are left out.
    """
    lines: list[dict[str, Any]] = []
    for raw in _raw_lines(out):
        try:
            line = json.loads(raw)
        except ValueError:  # cut off by a kill
            continue
        if not isinstance(line, dict) or "loss" not in line or not _number(line.get("step")):
            continue
        while lines and lines[-1]["step"] >= line["step"]:
            lines.pop()
        lines.append(line)
    return lines


def curves(lines: Sequence[dict[str, Any]]) -> dict[str, Curve]:
    """Return "loss", its parts (loss_cls and the like), spread and "lr", where they are numbers."""
    names = {name: None for line in lines for name in line}
    wanted = [name for name in names if name in ("loss", "lr", SPREAD) or "loss_" in name]
    found = {}
    for name in wanted:
        points = [(line["step"], float(line[name])) for line in lines if _number(line.get(name))]
        if points:
            steps, values = zip(*points, strict=True)
            found[name] = Curve(list(steps), list(values))
    return found


def smoothed(curve: Curve, window: float) -> Curve:
    """Return the mean over the steps no farther than `window` / 2 away, at each step."""
    sums, total = [0.0], 0.0
    for value in curve.values:
        total += value
        sums.append(total)
    first = last = 0
    means = []
    for step in curve.steps:
        while curve.steps[first] < step - window / 2:
            first += 1
        while last < len(curve.steps) and curve.steps[last] <= step + window / 2:
            last += 1
        means.append((sums[last] - sums[first]) / (last - first))
    return Curve(curve.steps, means)


def _raw_lines(out: Path) -> Iterator[bytes]:
    """Yield the lines of metrics.jsonl, none without the file."""
    try:
        with (out / METRICS).open("rb") as stream:
            yield from stream
    except OSError:
        return


def _number(value: Any) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _draw(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Draw the curves."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = curves(lines)
    if "loss" not in found:
        raise ValueError("no loss is a finite number")
    spread, rate = found.pop(SPREAD, None), found.pop("lr", None)
    lower = {"std of\noutputs": spread, "learning\nrate": rate}
    below = {title: curve for title, curve in lower.items() if curve is not None}
    figure = Figure(figsize=(7.2, 3.4 + 0.8 * len(below)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    ratios = [4 if below else 1, *(1 for _ in below)]
    panels = figure.subplots(len(ratios), 1, sharex=True, squeeze=False, height_ratios=ratios)
    axes = panels[0][0]
    _loss_panel(axes, found)
    for panel, (title, curve) in zip(panels[1:], below.items(), strict=True):
        _panel_below(panel[0], title, curve)
    panels[-1][0].set_xlabel("step", fontsize=9)
    panels[-1][0].locator_params(axis="x", integer=True)
    panels[-1][0].xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    last = smoothed(found["loss"], WINDOW * found["loss"].steps[-1]).values[-1]
    axes.set_title(f"Training loss; at the end {last:.4g}", loc="left", fontsize=10)
    parts = f", {len(found) - 1} parts of it" if len(found) > 1 else ""
    more = "".join(f" and the {' '.join(title.split())}" for title in below)
    write_plot(path, figure, f"Loss of {found['loss'].steps[-1]} steps of training{parts}{more}")


def _panel_below(axes: Any, title: str, curve: Curve) -> None:
    """Draw a curve from 0 upwards in a low panel."""
    axes.plot(curve.steps, curve.values, color=GREY, linewidth=1.4)
    axes.set_ylabel(title, fontsize=8)
    axes.set_ylim(0, max(curve.values) * 1.1 or 1)
    axes.locator_params(axis="y", nbins=2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.2g}")
    _quiet(axes)


def _loss_panel(axes: Any, found: dict[str, Curve]) -> None:
    """Draw the loss, as logged and averaged, and its parts, averaged."""
    whole = found["loss"]
    window = WINDOW * whole.steps[-1]
    axes.plot(whole.steps, whole.values, color=COLOUR, linewidth=0.7, alpha=0.35)
    lowest = []
    tones = dict(zip([name for name in found if name != "loss"], PARTS * 4, strict=False))
    for name, curve in found.items():
        mean = smoothed(curve, window)
        bold = {"color": COLOUR, "linewidth": 2.0} if name == "loss" else {"linewidth": 1.1}
        axes.plot(mean.steps, mean.values, label=name, **{"color": tones.get(name)} | bold)
        lowest.append(min(mean.values))
    if min(lowest) > 0 and max(whole.values) / min(lowest) > LOG_ABOVE:
        axes.set_yscale("log")
    axes.set_ylabel("loss", fontsize=9)
    if len(found) > 1:
        axes.legend(frameon=False, fontsize=8, ncols=2)
    if len(whole.steps) == 1:
        axes.plot(whole.steps, whole.values, "o", color=COLOUR)
    _quiet(axes)


def _quiet(axes: Any) -> None:
    """Leave a light grid and two sides of the frame."""
    axes.grid(axis="y", color=SOFT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    axes.margins(x=0.01)
    axes.spines[["top", "right"]].set_visible(False)
