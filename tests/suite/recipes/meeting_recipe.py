"""A recipe whose ranks write down where they are, for tests of several nodes."""

import json
import os
import time
from dataclasses import dataclass
from typing import ClassVar

from trial_recipes import Counting

from mae_bench.core.files import write_json

SEEN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "OMP_NUM_THREADS", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, kw_only=True)
class Meeting(Counting):
    """Writes what each rank sees of its place; with `steps` 2 the ranks then wait to be stopped."""

    name: ClassVar[str] = "meeting"

    def run(self, ctx):
        seen = {name: os.environ[name] for name in SEEN}
        seen["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", "")
        write_json(ctx.out / f"rank-{seen['RANK']}.json", seen)
        world = json.loads(seen["WORLD_SIZE"])
        while self.steps == 2 or len(list(ctx.out.glob("rank-*.json"))) < world:
            time.sleep(0.02)
        return {"score": float(world)}
