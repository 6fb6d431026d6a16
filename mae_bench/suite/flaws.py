"""What went wrong in a training that came to its end: collapsed outputs, steps left out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

FlawKind = Literal["collapsed", "unstable"]


@dataclass(frozen=True)
class Flaw:
    """A thing that a reader of the job's numbers must know; the numbers stay."""

    kind: FlawKind
    text: str
    """What was seen, without the kind."""

    def __str__(self) -> str:
        """Return the flaw for people."""
        return f"{self.kind}: {self.text}"


def flaws_of(provenance: Mapping[str, Any]) -> tuple[Flaw, ...]:
    """Return the flaws that a result's provenance notes; none of results that note no such thing.

    `facts.collapsed` is what a siamese objective says of its outputs, `facts.training` counts the
    steps whose loss was not finite.
    """
    facts = provenance.get("facts")
    if not isinstance(facts, Mapping):
        return ()
    collapsed, training = facts.get("collapsed"), facts.get("training")
    found = [Flaw("collapsed", collapsed)] if isinstance(collapsed, str) and collapsed else []
    text = _unstable(training) if isinstance(training, Mapping) else ""
    return (*found, *([Flaw("unstable", text)] if text else []))


def _unstable(training: Mapping[str, Any]) -> str:
    """Return how many steps a training left out or took anew, empty where it did neither."""
    skipped, back = training.get("skipped_steps") or 0, training.get("went_back") or 0
    steps = "1 step" if skipped == 1 else f"{skipped} steps"
    parts = [f"{steps} left out, the loss not finite"] if skipped else []
    parts += ["went back to a checkpoint"] if back else []
    return ", ".join(parts)
