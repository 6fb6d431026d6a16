"""All that a leaderboard shows, whatever the format."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mae_bench.report.table import Table


@dataclass(frozen=True)
class Content:
    """All that a leaderboard shows, whatever the format."""

    suite: str
    command: str
    """What makes the tables again."""
    main: Table
    difference: Table
    jobs: Table
    explanation: str
    notes: Sequence[str]
    figures: Sequence[Path]
    """Copies of pictures, which lie in figures/ beside the page."""
