"""Spreads over seeds that others measured, for numbers that were measured once."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("noise.csv")


@dataclass(frozen=True)
class Floor:
    """The sd over seeds of a number, as somebody else found it."""

    sd: float
    source: str
    """Who found it, and where it is written."""


def floor(protocol: str, metric: str, arch: str) -> Floor | None:
    """Return the spread over seeds known of that protocol's metric and encoder size, or None."""
    return _floors().get((protocol, metric, arch)) or _floors().get((protocol, metric, ""))


@cache
def _floors() -> dict[tuple[str, str, str], Floor]:
    """Return the table by protocol, metric and arch; an empty arch stands for any."""
    with FILE.open(newline="", encoding="utf-8") as lines:
        return {
            (one["protocol"], one["metric"], one["arch"]): Floor(
                float(one["sd"]), ", ".join(filter(None, [one["source"], one["location"]]))
            )
            for one in csv.DictReader(lines)
        }
