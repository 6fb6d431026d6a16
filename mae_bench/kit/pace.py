"""When a long run logs, saves, stops and gives up a rank, whichever engine drives it."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

REQUEUE = 75
"""Exit code of a run that saved itself on a signal and wants to be started again."""
LOG_EVERY_S = 1.0
SAVE_EVERY_S = 30.0
SAVE_SHARE = 0.01
"""At most this share of the time goes into checkpoints."""
DEAD_AFTER_S = 3600.0
"""Longest wait for another rank, such as for one that evaluates; a rank that died is seen at once,
since its connections close."""


class Pace:
    """Says after each step whether it is time to log or to save."""

    def __init__(self) -> None:
        self.logged = self.saved = time.monotonic()
        self.save_every = SAVE_EVERY_S

    def log_due(self) -> bool:
        """Return whether a second has passed since the last True."""
        now = time.monotonic()
        if now - self.logged < LOG_EVERY_S:
            return False
        self.logged = now
        return True

    def save_due(self) -> bool:
        """Return whether the interval since the last save is over."""
        return time.monotonic() - self.saved > self.save_every

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Time a save, and stretch the interval so that saves stay a small share of the time."""
        start = time.monotonic()
        yield
        self.saved = time.monotonic()
        self.save_every = max(SAVE_EVERY_S, (self.saved - start) / SAVE_SHARE)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM, SIGUSR2 and SIGINT in the yielded list for the time of the block.

    A signal that came in the last step, which the block did not stop for, is given to who had it
    before. Outside the main thread, where Python takes no handlers, the list stays empty.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    numbers = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)
    before = {n: signal.signal(n, lambda number, frame: received.append(number)) for n in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        signal.raise_signal(received[0])
