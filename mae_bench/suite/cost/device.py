"""The kind of device that hours are given for, and how many of them there are."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mae_bench.core.demo_data import DemoData
from mae_bench.kit.gpus import KINDS, GpuKind, cpu_name, gpu_name, kind_of, visible_gpus
from mae_bench.suite.cost.samples import Sample

FALLBACK = "A100"
"""The GPU that hours are given for where nothing tells which one it will be."""
MAX_ON_CPU = 4
MAKERS = ("NVIDIA", "Tesla", "GeForce", "Quadro")
"""Words in the names of GPUs, by which they are told from processors."""


@dataclass(frozen=True)
class Device:
    """One kind of device."""

    name: str
    """As results name it."""
    kind: GpuKind | None
    """None for processors."""
    why: str
    """Why hours are given for it."""

    def is_that_of(self, name: str) -> bool:
        """Return whether a result with that device was made on one of this kind."""
        own = kind_of(self.name)
        return name == self.name or (own is not None and kind_of(name) == own)


def chosen_device(asked: str, samples: Sequence[Sample], demo_data: DemoData | None) -> Device:
    """Return the device that hours are for: asked for, here, that of most results, or any.

    A suite on demo data is one for processors, where nothing else is known. Raises ValueError for
    an unknown GPU.
    """
    if asked:
        kind = kind_of(asked)
        if kind is None:
            known = ", ".join(kind.name for kind in KINDS)
            raise ValueError(f"--gpu-kind must be one of {known}, got {asked!r}")
        return Device(kind.name, kind, "asked for")
    here = gpu_name() if visible_gpus() else ""
    if here:
        return _named(here, "this machine's")
    most = Counter(sample.device for sample in samples).most_common(1)
    if most:
        return _named(most[0][0], "that of most results in the store")
    if demo_data is not None:
        return Device(cpu_name(), None, "this machine's")
    return Device(FALLBACK, kind_of(FALLBACK), "assumed: no GPU here; --gpu-kind names another")


def _named(name: str, why: str) -> Device:
    """Return the device of that name; a GPU without a data sheet here is taken for another."""
    kind = kind_of(name)
    if kind is None and any(word in name for word in MAKERS):
        return Device(name, kind_of(FALLBACK), f"{why}; taken for an {FALLBACK}")
    return Device(name, kind, why)


def slots(gpus: int) -> int:
    """Return how many jobs of that many GPUs this machine runs at once; on a CPU up to four."""
    devices = visible_gpus() or min(MAX_ON_CPU, len(os.sched_getaffinity(0)))
    return max(1, devices // gpus)
