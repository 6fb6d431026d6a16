"""Spreads over seeds that others measured, for numbers that were measured once."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mae_bench.kit.archs import PAPER_ARCHS

FILE = Path(__file__).with_name("noise.csv")


@dataclass(frozen=True)
class Floor:
    """The sample sd over seeds of a number, as somebody else found it."""

    sd: float
    """In the metric's own unit."""
    source: str
    """Who found it and where it is written, or what of that is not known."""


def floor(protocol: str, metric: str, arch: str) -> Floor | None:
    """Return the spread over seeds known of that protocol's metric and encoder size, or None.

    None for sizes that the papers did not measure: other models have other noise.
    """
    own = _floors().get((protocol, metric, arch))
    return own or (_floors().get((protocol, metric, "")) if arch in PAPER_ARCHS else None)


@cache
def _floors() -> dict[tuple[str, str, str], Floor]:
    """Return the table by protocol, metric and arch; no arch stands for all of the papers."""
    with FILE.open(newline="", encoding="utf-8") as lines:
        return {
            (one["protocol"], one["metric"], one["arch"]): Floor(
                float(one["sd"]), ", ".join(filter(None, [one["source"], one["location"]]))
            )
            for one in csv.DictReader(lines)
        }
