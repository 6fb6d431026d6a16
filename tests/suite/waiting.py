"""Waits in tests for what other processes do."""

import time

LIMIT_S = 60


def wait_for(condition):
    """Poll until the condition gives something, and return it."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")
