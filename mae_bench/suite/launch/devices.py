"""The GPUs of this machine, and which of them each running job has."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from mae_bench.core.compute import Compute
from mae_bench.core.job import Job
from mae_bench.suite.preflight import Ground

MAX_ON_CPU = 4


@dataclass
class Devices:
    """Names of GPUs as CUDA_VISIBLE_DEVICES takes them; none on a machine without."""

    names: tuple[str, ...]
    taken: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Job key -> its GPUs."""

    def room_for(self, gpus: int) -> bool:
        """Return whether so many are free; always where there are none to hand out."""
        return not self.names or len(self._free()) >= min(gpus, len(self.names))

    def take(self, key: str, gpus: int) -> str | None:
        """Return CUDA_VISIBLE_DEVICES for the job, None where the machine has no GPUs."""
        if not self.names:
            return None
        self.taken[key] = tuple(self._free()[:gpus])
        return ",".join(self.taken[key])

    def give_back(self, key: str) -> None:
        """Free what the job had, however it ended."""
        self.taken.pop(key, None)

    def _free(self) -> list[str]:
        """Return the GPUs that no job has, in their order."""
        held = {name for names in self.taken.values() for name in names}
        return [name for name in self.names if name not in held]


def devices_here() -> Devices:
    """Return the NVIDIA GPUs that this process may use, found without loading torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return Devices(tuple(name.strip() for name in visible.split(",") if name.strip()))
    folder = Path("/proc/driver/nvidia/gpus")
    found = len(list(folder.iterdir())) if folder.is_dir() else 0
    return Devices(tuple(map(str, range(found))))


def num_gpus() -> int:
    """Return the number of NVIDIA GPUs that this process may use."""
    return len(devices_here().names)


def compute_of(job: Job, ground: Ground) -> Compute:
    """Return the site's settings; jobs without training take one GPU."""
    compute = ground.site.compute
    return compute if job.recipe.resources.gpus else replace(compute, gpus=1)


def default_parallel(gpus: int = 1) -> int:
    """Return as many jobs as get `gpus` GPUs each, or cores up to four where there is none."""
    devices = num_gpus() or min(MAX_ON_CPU, len(os.sched_getaffinity(0)))
    return max(1, devices // gpus)
