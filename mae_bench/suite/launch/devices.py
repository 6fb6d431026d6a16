"""The GPUs of this machine, and which of them each running job has."""

from dataclasses import dataclass, field, replace

from mae_bench.core.compute import Compute
from mae_bench.core.job import Job
from mae_bench.kit.gpus import gpu_ids
from mae_bench.suite.preflight import Ground


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
    return Devices(gpu_ids())


def compute_of(job: Job, ground: Ground) -> Compute:
    """Return the site's settings; jobs without training take one GPU."""
    compute = ground.site.compute
    return compute if job.recipe.resources.gpus else replace(compute, gpus=1)
