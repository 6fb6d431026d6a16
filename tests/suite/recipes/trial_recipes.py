"""Small real recipes that the tests of suites, stores and launches run in real processes."""

import json
import math
import os
import signal
import time
from dataclasses import dataclass
from typing import ClassVar

from mae_bench.core.files import ENCODER, append_metrics, write_json
from mae_bench.core.recipe import Metric, Resources, require

SCORE = (Metric("score", "score"),)


@dataclass(frozen=True, kw_only=True)
class Counting:
    """Counts to `steps`, keeping its place; every executed step is a line in steps.txt."""

    name: ClassVar[str] = "counting"
    version: ClassVar[int] = 1
    dataset: ClassVar[str] = ""
    after: ClassVar[str] = ""
    metrics: ClassVar[tuple[Metric, ...]] = SCORE
    resources: ClassVar[Resources] = Resources(gpus=0, hours=0.0, demo_seconds=1.0)
    published_origins: ClassVar[tuple[str, ...]] = ()
    published_archs: ClassVar[tuple[str, ...]] = ("vit_smoke_patch8",)

    arch: str = "vit_smoke_patch8"
    steps: int = 5
    pause_at: int = 0
    """On the first attempt, stop here until killed or its marker is removed; 0: never."""
    outcome: str = "fine"
    linger: float = 0.0
    """Seconds that a pause takes to save when it is told to stop."""

    def __post_init__(self):
        require(self, "steps", ">= 1", self.steps >= 1)

    @classmethod
    def demo(cls):
        return cls()

    @classmethod
    def published(cls, arch, origin):
        return cls(arch=arch)

    def run(self, ctx):
        place = ctx.out / "place.json"
        done = json.loads(place.read_text()) if place.exists() else 0
        for step in range(done + 1, self.steps + 1):
            with (ctx.out / "steps.txt").open("a") as stream:
                stream.write(f"{step}\n")
            write_json(place, step)
            append_metrics(ctx.out, step=step, steps=self.steps, half=step / 2)
            marker = ctx.out / "paused"
            if step == self.pause_at and not marker.exists():
                marker.write_text(str(os.getpid()))
                self._wait(ctx)
        (ctx.out / ENCODER).write_text("encoder")
        if self.outcome == "raise":
            raise ValueError("it went wrong on purpose")
        if self.outcome == "exit":
            os._exit(3)
        if self.outcome == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        scores = {"fine": 50.0 + ctx.seed, "nan": math.nan, "too_high": 101.0}
        return {"score": scores[self.outcome]}

    def _wait(self, ctx):
        try:
            while (ctx.out / "paused").exists():  # signal.pause() would miss an early signal
                time.sleep(0.02)
        except SystemExit:
            time.sleep(self.linger)
            (ctx.out / "saved").touch()
            raise


@dataclass(frozen=True, kw_only=True)
class Reading(Counting):
    """A task: needs the encoder of a Counting."""

    name: ClassVar[str] = "reading"

    def run(self, ctx):
        assert ctx.encoder.read_text() == "encoder"
        return super().run(ctx)


@dataclass(frozen=True, kw_only=True)
class NeedsDetectron2(Counting):
    """A task of a framework that the test's interpreter lacks."""

    name: ClassVar[str] = "needs_detectron2"
    resources: ClassVar[Resources] = Resources(framework="detectron2", demo_seconds=1.0)
    published_origins: ClassVar[tuple[str, ...]] = ()
    published_archs: ClassVar[tuple[str, ...]] = ("vit_smoke_patch8",)


@dataclass(frozen=True, kw_only=True)
class Seeing(Counting):
    """A task that trains and notes the GPUs it may use, and since when and until when."""

    name: ClassVar[str] = "seeing"
    resources: ClassVar[Resources] = Resources(gpus=1, hours=0.0, demo_seconds=1.0)
    seconds: float = 0.3

    def run(self, ctx):
        seen = os.environ.get("CUDA_VISIBLE_DEVICES")
        began = time.monotonic()
        if self.outcome == "fine":
            time.sleep(self.seconds)
        write_json(ctx.out / "seen.json", [seen, began, time.monotonic()])
        return super().run(ctx)


@dataclass(frozen=True, kw_only=True)
class Peeking(Seeing):
    """A task that does not train, and so takes one GPU."""

    name: ClassVar[str] = "peeking"
    resources: ClassVar[Resources] = Resources(gpus=0, hours=0.0, demo_seconds=1.0)
