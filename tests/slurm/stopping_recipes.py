"""Recipes that SLURM stops: again and again, or in the middle of a save that takes long."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import ClassVar

from mae_bench.core.files import append_metrics, write_json
from mae_bench.core.recipe import Metric, Resources
from pretrain.mae import MAE


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """Makes one of `steps` in each attempt, and is then told to stop in one way or another."""

    name: ClassVar[str] = "stopped"
    version: ClassVar[int] = 1
    dataset: ClassVar[str] = ""
    after: ClassVar[str] = ""
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("score", "score"),)
    resources: ClassVar[Resources] = Resources(gpus=0, hours=0.0, demo_seconds=1.0)
    published_origins: ClassVar[tuple[str, ...]] = ()
    published_archs: ClassVar[tuple[str, ...]] = ("vit_smoke_patch8",)

    arch: str = "vit_smoke_patch8"
    steps: int = 5
    way: str = "signal"
    """signal: SLURM sends USR2 to the whole job; limit: at its time limit; kill: SIGKILL in the
    middle of a step, so that nothing is ever saved."""

    @classmethod
    def demo(cls):
        return cls()

    @classmethod
    def published(cls, arch, origin):
        return cls(arch=arch)

    def run(self, ctx):
        folder = ctx.out / "checkpoints"
        folder.mkdir(exist_ok=True)
        step = 1 + len(list(folder.iterdir()))
        if self.way == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        write_json(folder / f"step-{step:09d}-0.pt", step)
        append_metrics(ctx.out, step=step, steps=self.steps)
        if step == self.steps:
            return {"score": float(step)}
        if self.way == "signal":
            job = os.environ["SLURM_JOB_ID"]
            subprocess.run(["scancel", "--signal=USR2", job], check=True)
        while True:
            time.sleep(0.02)


@dataclass(frozen=True, kw_only=True)
class SlowDisk(MAE):
    """Pretraining whose disk takes minutes for a checkpoint while a file `slow` is there."""

    name: ClassVar[str] = "slow_disk"

    def run(self, ctx):
        from mae_bench.kit import checkpoint

        write = checkpoint.write_bytes

        def write_slowly(path, content):
            if (ctx.out / "slow").exists():
                path.with_suffix(".part").write_bytes(content[: len(content) // 2])
                time.sleep(300)
            write(path, content)

        checkpoint.write_bytes = write_slowly
        return super().run(ctx)
