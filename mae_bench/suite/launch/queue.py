"""Jobs that wait or run in a scheduler's queue, whichever it is; its word is a hint."""

from dataclasses import dataclass
from typing import Literal

QueueState = Literal["queued", "retrying", "running", "ending"]


class Unanswered(Exception):  # noqa: N818 - no fault: nobody knows
    """The scheduler did not answer; what is in its queue is not known."""


@dataclass(frozen=True)
class QueueEntry:
    """One job in the queue."""

    id: str
    """The scheduler's name for it."""
    state: QueueState
    """retrying: it was started before, and waits for its next start."""
    reason: str = ""
    """Why it waits, in the scheduler's word; empty where it gives none."""
    where: str = ""
    """Nodes that it runs on."""
    start: str = ""
    """When it started, or when the scheduler expects it to; empty if it does not know."""
