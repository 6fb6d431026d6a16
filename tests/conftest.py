import signal
from collections.abc import Callable
from pathlib import Path

import pytest

SLOW_FIRST = (
    "test_adding_docs.py",
    "test_cli.py",
    "test_training.py",
    "test_siamese_runs.py",
    "test_robustness.py",
    "test_encoders.py",
    "test_verdict.py",
    "test_races.py",
    "test_lowshot.py",
    "test_mmseg_training.py",
    "test_ranks.py",
    "test_calibration.py",
    "test_worker_killed.py",
    "test_features.py",
    "test_detection_engine.py",
)
"""Files that take longest: begun first, none of them is left for one process at the end."""
GOLDEN = Path(__file__).parent / "data" / "golden"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow files first, each in its own order."""
    place = {name: number for number, name in enumerate(SLOW_FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture(scope="session")
def golden_file() -> Callable[[str], Path]:
    """Return the path of a file made by the reference implementation."""
    return lambda name: GOLDEN / name


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """Let the programs under test be interrupted even where a shell started the tests with &."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
