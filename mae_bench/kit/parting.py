"""How a rank takes leave of the others: only where all come to their end together.

A process that ends with its groups may abort, since gloo's threads let go of tensors while Python
ends. A rank that fails leaves its groups alone: ending them waits for what the others have begun.
"""

from collections.abc import Callable

_partings: list[Callable[[], None]] = []


def at_parting(end: Callable[[], None]) -> None:
    """Have `end` called when this rank and the others are done."""
    _partings.append(end)


def part() -> None:
    """End what ties this rank to the others; alone, nothing."""
    while _partings:
        _partings.pop()()
