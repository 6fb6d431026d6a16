"""A recipe on several ranks, of which the second comes to some end."""

import os
import signal
import time
from dataclasses import dataclass
from typing import ClassVar

from trial_recipes import Counting

from mae_bench.core.recipe import Resources


@dataclass(frozen=True, kw_only=True)
class Ranked(Counting):
    """All ranks agree a few times; `end` happens to the second one, on the first attempt alone."""

    name: ClassVar[str] = "ranked"
    resources: ClassVar[Resources] = Resources(gpus=1, hours=0.0, demo_seconds=1.0)

    end: str = "none"
    """raise, kill, abort, or wait: for a signal, as an evaluation does."""

    def run(self, ctx):
        from mae_bench.kit.ranks import join

        ranks = join()
        first_time = not (ctx.out / "marker").exists()
        ranks.total(1)
        ranks.wait()
        if first_time and ranks.rank == 1:
            (ctx.out / "marker").write_text(str(os.getpid()))
            self._end()
        total = ranks.total(1)[0]
        return {"score": 50.0 + total}

    def _end(self):
        if self.end == "raise":
            raise ValueError("the second rank went wrong on purpose")
        if self.end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        while self.end == "wait":
            time.sleep(0.05)
