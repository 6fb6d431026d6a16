"""mae-bench: how good is this pretrained Vision Transformer, really?

From Python: `load_results(store)` and `leaderboard(results)` give pandas tables; docs/python.md.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mae_bench.report.leaderboard import leaderboard
    from mae_bench.report.results import load_results

__version__ = "0.1.0"
__all__ = ["__version__", "leaderboard", "load_results"]
HOMES = {
    "leaderboard": "mae_bench.report.leaderboard",
    "load_results": "mae_bench.report.results",
}
"""Name -> module that has it, which loads pandas and so is imported only when asked for."""


def __getattr__(name: str) -> Any:
    """Return what is asked for of the package; AttributeError for what it does not have."""
    from importlib import import_module

    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the names that the package has to offer."""
    return sorted(__all__)
