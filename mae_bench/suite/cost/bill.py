"""What a run would do: every job with its state and hours, and what all of them cost together."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mae_bench.core.job import Job
from mae_bench.kit.gpus import visible_gpus
from mae_bench.suite.cost.device import Device, chosen_device, slots
from mae_bench.suite.cost.disk import Room, room
from mae_bench.suite.cost.energy import watts_of
from mae_bench.suite.cost.estimate import Estimate, estimates
from mae_bench.suite.cost.left import done_share
from mae_bench.suite.cost.samples import Sample, read_samples
from mae_bench.suite.cost.schedule import Piece, chain_seconds, wall_seconds
from mae_bench.suite.preflight import Ground

State = Literal[
    "cached",
    "running",
    "queued",
    "blocked",
    "failed before",
    "cancelled before",
    "continues",
    "to run",
]
STATES: Mapping[str, State] = {
    "running": "running",
    "queued": "queued",
    "failed": "failed before",
    "cancelled": "cancelled before",
    "partial": "continues",
}


@dataclass(frozen=True)
class Line:
    """One job of the plan."""

    job: Job
    state: State
    reason: str
    """Where it runs, what blocks it, why it failed; empty else."""
    gpus: int
    """Devices that it takes."""
    estimate: Estimate
    """Of the whole job."""
    left: float
    """Share of it that is still to be done, 0 for a cached one."""
    watts: float
    """Mean power of one of its devices; 0 where it is not known."""
    watts_from: str

    @property
    def gpu_hours(self) -> float:
        """The hours of one device that are left."""
        return self.left * self.estimate.gpu_seconds / 3600

    @property
    def hours(self) -> float:
        """The hours left on its devices."""
        return self.gpu_hours / self.gpus

    @property
    def kwh(self) -> float:
        """The energy of its devices that is left, 0 where their power is not known."""
        return self.gpu_hours * self.watts / 1000


@dataclass(frozen=True)
class Bill:
    """All jobs and their sums."""

    lines: tuple[Line, ...]
    device: Device
    devices: int
    """How many of them there are."""
    wall_hours: float
    """Until the last job ends that can run here."""
    whole_wall_hours: float
    """The same if none were blocked."""
    room: Room

    def gpu_hours(self, *, blocked: bool) -> float:
        """Return the hours left of the jobs that are blocked, or of those that are not."""
        return sum(line.gpu_hours for line in self.lines if (line.state == "blocked") == blocked)

    @property
    def kwh(self) -> float:
        """The energy left of the jobs that can run."""
        return sum(line.kwh for line in self.lines if line.state != "blocked")


@dataclass(frozen=True)
class Wishes:
    """What the hours shall be for."""

    gpus: int = 0
    """Devices in all; 0: those of this machine."""
    gpu_kind: str = ""
    """A kind of GPU; empty: this machine's."""


def bill(ground: Ground, wishes: Wishes) -> Bill:
    """Return what a run of the suite would do and cost, from what the store knows now."""
    samples = read_samples(ground.store.root)
    device = chosen_device(wishes.gpu_kind, samples, ground.plan.demo_data is not None)
    known = estimates(ground.plan, samples, device)
    compute = ground.site.compute
    here = slots(compute.gpus) if device.kind is None or visible_gpus() else 1
    devices = wishes.gpus or here * compute.gpus
    lines = tuple(_line(ground, job, known[job.key], (samples, device)) for job in ground.plan.jobs)
    able = tuple(line for line in lines if line.state != "blocked")
    to_run = [line.job for line in able if line.left]
    return Bill(
        lines,
        device,
        devices,
        _wall(ground, able, devices),
        _wall(ground, lines, devices),
        room(to_run, ground.store, ground.plan.demo_data, compute.keep),
    )


def _line(ground: Ground, job: Job, estimate: Estimate, known: tuple[list[Sample], Device]) -> Line:
    """Return the job's line."""
    state, reason = _state(ground, job)
    left = 0.0 if state == "cached" else 1 - done_share(ground.store, job)
    gpus = ground.site.compute.gpus if job.recipe.resources.gpus else 1
    watts, watts_from = watts_of(job, *known)
    return Line(job, state, reason, gpus, estimate, left, watts, watts_from)


def _state(ground: Ground, job: Job) -> tuple[State, str]:
    """Return what a run would do with the job, and why."""
    found = ground.store.state(job)
    if found.name == "done":
        return "cached", ""
    if found.name not in ("running", "queued") and job.key in ground.blocked:
        return "blocked", ground.blocked[job.key]
    return STATES.get(found.name, "to run"), found.reason


def _wall(ground: Ground, lines: tuple[Line, ...], devices: int) -> float:
    """Return the hours until the last of those jobs ends, on so many devices."""
    seconds = {line.job.key: line.hours * 3600 for line in lines}
    chain = chain_seconds(ground.plan, defaultdict(float, seconds))
    pieces = []
    for line in lines:
        source = ground.plan.source_of(line.job)
        after = "" if source is None else source.key
        if line.left:
            pieces.append(Piece(line.job.key, seconds[line.job.key], line.gpus, after))
    return wall_seconds(pieces, chain, devices) / 3600
