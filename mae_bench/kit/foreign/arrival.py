"""What became of every tensor of a foreign checkpoint: the proof that an encoder arrived whole."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

SHOWN = 5


@dataclass(frozen=True)
class Converted:
    """One tensor of the encoder that was made from others."""

    sources: tuple[str, ...]
    """Names in the file; none if the value follows from what the file lacks."""
    target: str
    how: str


@dataclass(frozen=True)
class Dropped:
    """One tensor, or a part without weights, that was left out."""

    name: str
    reason: str


@dataclass(frozen=True)
class Arrival:
    """Every tensor of the file and of the encoder, accounted for."""

    matched: tuple[str, ...]
    """Tensors of the encoder that have the same name in the file, but for a prefix of all."""
    converted: tuple[Converted, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    unexpected: tuple[str, ...] = ()
    """Tensors of the file that the format does not know."""
    missing: tuple[str, ...] = ()
    """Tensors of the encoder that the file does not give."""

    @property
    def coverage(self) -> float:
        """Percentage of the encoder's tensors that the file gives."""
        arrived = len(self.matched) + len(self.converted)
        return 100.0 * arrived / max(1, arrived + len(self.missing))

    def table(self) -> str:
        """Return a line for each kind of tensor and what became of it; blocks are counted as N."""
        total = len(self.matched) + len(self.converted) + len(self.missing)
        arrived = total - len(self.missing)
        lines = [f"arrived: {arrived} of {total} tensors of the encoder ({self.coverage:.1f} %)"]
        lines += _counted("same name", (_general(name) for name in self.matched))
        lines += _counted("converted", (_general(_conversion(part)) for part in self.converted))
        for reason, names in self.left_out().items():
            lines.append(f"{'dropped':<10} {len(names):>4} x {reason}: {listed(names, 2)}")
        lines += _counted("unexpected", self.unexpected)
        lines += _counted("missing", self.missing)
        return "\n".join(lines)

    def history(self) -> tuple[str, ...]:
        """Return the conversions and drops in words, one for each kind, with their numbers."""
        how = Counter(part.how for part in self.converted)
        left = self.left_out().items()
        return (
            *(f"{kind} ({number} of its tensors)" for kind, number in how.items()),
            *(f"left out {listed(names, 2)}: {reason}" for reason, names in left),
        )

    def left_out(self) -> dict[str, list[str]]:
        """Return reason -> names of what was dropped for it."""
        left: dict[str, list[str]] = {}
        for part in self.dropped:
            left.setdefault(part.reason, []).append(part.name)
        return left


def listed(names: Iterable[str], limit: int = SHOWN) -> str:
    """Return the first names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _conversion(part: Converted) -> str:
    """Return source, target and method in one line."""
    return f"{' + '.join(part.sources) or '(nothing)'} -> {part.target}: {part.how}"


def _general(text: str) -> str:
    """Return the text with block numbers replaced by N, so that equal lines can be counted."""
    return re.sub(r"(blocks|layers?)\.(\d+\.)?\d+\.|encoder_layer_\d+\.", r"\1.N.", text)


def _counted(title: str, lines: Iterable[str]) -> list[str]:
    """Return the different lines with how often each occurs."""
    return [f"{title:<10} {number:>4} x {line}" for line, number in sorted(Counter(lines).items())]
