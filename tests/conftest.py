from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "data" / "golden"


@pytest.fixture(scope="session")
def golden_file() -> Callable[[str], Path]:
    """Return the path of a file made by the reference implementation."""
    return lambda name: GOLDEN / name
