"""A figure of a leaderboard: what it is called, what it says, and its files."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mae_bench.core.files import update_bytes


@dataclass(frozen=True)
class Figure:
    """One figure; `files` are its svg (photographs have none), its png, and its data as csv."""

    name: str
    caption: str
    files: tuple[Path, ...]


def write_data(path: Path, data: pd.DataFrame) -> Path:
    """Write the data that a figure shows as csv; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    update_bytes(path, data.to_csv(index=False, lineterminator="\n").encode())
    return path
