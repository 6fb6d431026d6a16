"""Recipes that record every execution of theirs, for tests of runs that race for them."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from trial_recipes import Counting

from mae_bench.core.files import ENCODER

LIMIT_S = 60


@dataclass(frozen=True, kw_only=True)
class Racing(Counting):
    """Adds a line to executed.txt, and fails only once all runs of the race have begun."""

    name: ClassVar[str] = "racing"

    runs: int = 4
    """Runs that leave begun-N beside the store before an execution may fail."""

    def run(self, ctx):
        with (ctx.out / "executed.txt").open("a") as stream:
            stream.write(f"{os.getppid()}\n")
        (ctx.out / ENCODER).write_text("encoder")
        if self.outcome == "raise":
            end = time.monotonic() + LIMIT_S
            beside = ctx.out.parent.parent
            while len(list(beside.glob("begun-*"))) < self.runs and time.monotonic() < end:
                time.sleep(0.005)
            raise ValueError("it went wrong on purpose")
        return {"score": 50.0 + ctx.seed}


@dataclass(frozen=True, kw_only=True)
class RacingOn(Racing):
    """A task: needs the encoder of a Racing."""

    name: ClassVar[str] = "racing_on"

    def run(self, ctx):
        assert Path(ctx.encoder).read_text() == "encoder"
        return super().run(ctx)
