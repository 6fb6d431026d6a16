"""The contract of a tracker, which shows runs as they go, and the names of all that are there."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from mae_bench.core.recipe import unknown

GROUP = "mae_bench.trackers"
"""Entry points by which other packages bring trackers; one of our names takes its place."""
TRACKERS: dict[str, str] = {
    "tensorboard": "mae_bench.suite.trackers.tensorboard:Curves",
    "wandb": "mae_bench.suite.trackers.wandb:Curves",
    "mlflow": "mae_bench.suite.trackers.mlflow:Curves",
    "trackio": "mae_bench.suite.trackers.trackio:Curves",
}
PROJECT = "mae-bench"
"""What trackers call the place of all runs, where their own settings do not name another."""
Status = Literal["done", "failed", "stopped"]


@dataclass(frozen=True)
class TrackedRun:
    """A job as a tracker should know it."""

    key: str
    """The run's id: a job that is continued is the same run."""
    name: str
    """For people: row, recipe and seed."""
    row: str
    recipe: str
    seed: int
    config: Mapping[str, Any]
    """The recipe's fields, and what else decides the numbers: version, data, encoder, seed."""
    folder: Path
    """The job's own, to be read only."""
    own: Path
    """Below it, for the tracker to make, if it keeps files itself."""
    resumed: bool
    """Whether the tracker was told of this run before."""


class Tracker(Protocol):
    """What shows one run; any exception is noted, and the same is told again later."""

    def log(self, step: int, values: Mapping[str, float], time: float) -> None:
        """Take values of a step, logged at `time` in seconds of the epoch.

        Steps never go down; a step may come twice, with other values.
        """
        ...

    def finish(self, step: int, metrics: Mapping[str, float], status: Status) -> None:
        """Take the final metrics, empty unless the job is done, and return when all is kept.

        They are called result/NAME, since a curve may have the same name. `step` is the last one
        that was logged, 0 without one.
        A job that was stopped, or is tried again after it failed, opens its run anew.
        """
        ...


Opener = Callable[[TrackedRun], Tracker]


def known() -> dict[str, EntryPoint]:
    """Return where each tracker that this Python has is found, by name."""
    ours = {name: EntryPoint(name, value, GROUP) for name, value in TRACKERS.items()}
    return ours | {point.name: point for point in entry_points(group=GROUP)}


def opener(name: str) -> Opener:
    """Return what opens a run in the tracker; ValueError with the nearest name if there is none."""
    points = known()
    if name not in points:
        raise ValueError(unknown("tracker", name, points))
    return cast(Opener, points[name].load())


def problem(name: str) -> str:
    """Return why the tracker cannot be used, with the next step; empty if it can.

    A tracker's module may name as PACKAGE the module that must be installed for it.
    """
    try:
        opener(name)
    except ValueError as error:
        return str(error)
    except Exception as error:  # other people's code
        return (
            f"tracker {name}: {known()[name].value} cannot be loaded ({error!r}); mend or remove "
            "the package that brings it"
        )
    package = getattr(import_module(known()[name].module), "PACKAGE", None)
    if package is None or find_spec(package):
        return ""
    return (
        f"tracker {name}: {package} is not installed for {sys.executable}; "
        f"pip install 'mae-bench[{name}]'"
    )
