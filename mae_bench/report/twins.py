"""Our numbers beside the published ones of the same encoder, measured by the same rules."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pandas as pd

from mae_bench.core.fidelity import PAPER
from mae_bench.report.leaderboard import GROUP
from mae_bench.report.noise import floor
from mae_bench.report.published import Reference
from mae_bench.report.rows import rules_of

TWIN = ("published", "published_by", "published_note", "delta_published", "agreement")
WITHIN, OUTSIDE = "within noise", "outside noise"
NORMAL = 1.959963984540054
"""Standard deviations to either side that hold 95 % of a normal distribution."""
UNSAID_LENGTH = "the source does not say how long its encoder was pretrained"
UNKNOWN_LENGTH = "how long ours was pretrained is not known; theirs was {:g} epochs"


@dataclass(frozen=True)
class Twin:
    """The published number that one of ours may be held against."""

    reference: Reference
    others: tuple[Reference, ...]
    """Further numbers for the same, of other sources or versions."""
    doubt: str = ""
    """Why it may be another encoder than it seems."""


def with_twins(
    board: pd.DataFrame, frame: pd.DataFrame, references: Sequence[Reference]
) -> pd.DataFrame:
    """Return the board with each cell's published twin, its distance and whether noise covers it.

    The distance is ours less theirs. A verdict is given where all our jobs ran as published.
    """
    lines: dict[tuple[Any, ...], list[Any]] = {}
    for line in frame.to_dict("records"):
        lines.setdefault(_cell(line), []).append(line)
    found = []
    for cell in board.to_dict("records"):
        seeds = lines[_cell(cell)]
        found.append(_columns(cell, seeds, twin_of(seeds[0], references)))
    return board.assign(**{name: [one[name] for one in found] for name in TWIN})


def twin_of(line: Any, references: Sequence[Reference]) -> Twin | None:
    """Return the published number for a line of the long table, None if there is none.

    The same method, size, pretraining length, rules and metric; where the length of either is not
    known, whatever can be the same, with a doubt. The ledger's first is taken, one of a version of
    the method (in parentheses) only if there is no other.
    """
    same = [
        one
        for one in references
        if one.kind == "published"
        and (one.rules, one.metric) == (rules_of(line), line["metric"])
        and (one.arch, one.origin) == (line["arch"], line["method"])
    ]
    epochs = line["encoder_epochs"]
    lengths = {one.pretrain_epochs for one in same}
    if pd.isna(epochs):
        alike, doubt = same if len(lengths) == 1 else [], UNKNOWN_LENGTH
    else:
        exact = [one for one in same if one.pretrain_epochs == epochs]
        alike, doubt = exact or [one for one in same if one.pretrain_epochs is None], ""
    if not alike:
        return None
    first, *others = sorted(alike, key=lambda one: "(" in one.method)
    if first.pretrain_epochs is None:
        doubt = UNSAID_LENGTH
    return Twin(first, tuple(others), doubt and doubt.format(first.pretrain_epochs))


def _columns(cell: Any, seeds: Sequence[Any], twin: Twin | None) -> dict[str, Any]:
    """Return what the board says of the twin of a cell, of which `seeds` are the long lines."""
    if twin is None:
        return dict(zip(TWIN, (float("nan"), "", "", float("nan"), ""), strict=True))
    value = twin.reference.value
    also = [f"{one.value:g} ({one.method}, {one.place})" for one in twin.others]
    note = [twin.reference.note, twin.doubt, f"also {', '.join(also)}" if also else ""]
    return {
        "published": value,
        "published_by": twin.reference.place,
        "published_note": "; ".join(filter(None, note)),
        "delta_published": cell["mean"] - value,
        "agreement": _agreement(cell, seeds, twin),
    }


def _agreement(cell: Any, seeds: Sequence[Any], twin: Twin) -> str:
    """Return whether ours and the twin differ by no more than noise over seeds, 95 % of the time.

    Both are of the same images, so their choice is no noise here. Nothing is said where no spread
    over seeds is known, or where the number was not had as published.
    """
    stamps = {one["fidelity"] for one in seeds}
    encoders = {one["encoder_fidelity"] for one in seeds}
    as_published = stamps == {PAPER} and encoders <= {PAPER, ""}
    noise = _noise(cell)
    if noise is None or twin.doubt or not as_published:
        return ""
    value = twin.reference.value
    return WITHIN if abs(cell["mean"] - value) <= noise + _rounded_by(value) else OUTSIDE


def _noise(cell: Any) -> float | None:
    """Return how far ours and one published run may differ by noise over seeds, if it is known.

    Ours varies by its interval over seeds, or like the published one by the published spread.
    """
    known = floor(*(str(cell[name]) for name in ("protocol", "metric", "arch")))
    theirs = 0.0 if known is None else NORMAL * known.sd
    if cell["basis"] == "seeds":
        return math.hypot((cell["high"] - cell["low"]) / 2, theirs)
    if known is None or pd.isna(cell["mean"]):
        return None
    return math.hypot(theirs / math.sqrt(cell["n"]), theirs)


def _rounded_by(value: float) -> float:
    """Return how far a number may lie from the one that it was rounded from: half a last digit."""
    exponent = Decimal(repr(value)).as_tuple().exponent
    assert isinstance(exponent, int)  # a finite number
    return 0.5 * 10.0**exponent


def _cell(line: Any) -> tuple[Any, ...]:
    """Return what a cell is known by."""
    return tuple(line[name] for name in GROUP)
