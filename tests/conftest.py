import signal
from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "data" / "golden"


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
