"""What a run would do: every job with its state and hours, and what all of them cost together."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mae_bench.core.job import Job
from mae_bench.kit.gpus import visible_gpus
from mae_bench.suite.cost.device import Device, chosen_device, slots
from mae_bench.suite.cost.disk import Room, room
from mae_bench.suite.cost.energy import watts_of
from mae_bench.suite.cost.estimate import Estimate, estimates
from mae_bench.suite.cost.left import done_share, saved_share
from mae_bench.suite.cost.samples import Sample, read_samples
from mae_bench.suite.cost.schedule import Piece, chain_seconds, wall_seconds
from mae_bench.suite.launch import On, devices_of
from mae_bench.suite.launch.queue import QueueEntry
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
    """For the jobs that can run."""
    whole_room: Room
    """For all that are not done."""

    @property
    def gpu_hours(self) -> float:
        """The hours of one device that are left of the jobs that can run."""
        return sum(line.gpu_hours for line in self.lines if line.state != "blocked")

    @property
    def blocked_gpu_hours(self) -> float:
        """The same of those that are blocked."""
        return sum(line.gpu_hours for line in self.lines if line.state == "blocked")

    @property
    def kwh(self) -> float:
        """The energy left of the jobs that can run."""
        return sum(line.kwh for line in self.lines if line.state != "blocked")

    @property
    def whole_kwh(self) -> float:
        """The same if none were blocked."""
        return sum(line.kwh for line in self.lines)


@dataclass(frozen=True)
class Wishes:
    """What the hours shall be for."""

    gpus: int = 0
    """Devices in all; 0: those of this machine."""
    gpu_kind: str = ""
    """A kind of GPU; empty: this machine's."""
    on: On = "local"
    """Where the jobs would run."""


def bill(ground: Ground, wishes: Wishes, queue: Mapping[str, QueueEntry] | None = None) -> Bill:
    """Return what a run of the suite would do and cost, from what the store knows now.

    `queue` holds what a scheduler has of its jobs, by key.
    """
    samples = read_samples(ground.store.root)
    device = chosen_device(wishes.gpu_kind, samples, ground.plan.demo_data)
    known = estimates(ground.plan, samples, device)
    look = _Look(ground, wishes.on, queue or {}, samples, device)
    lines = tuple(_line(look, job, known[job.key]) for job in ground.plan.jobs)
    able = tuple(line for line in lines if line.state != "blocked")
    devices = wishes.gpus or _devices(look, lines)
    return Bill(
        lines,
        device,
        devices,
        _wall(ground, able, devices),
        _wall(ground, lines, devices),
        _room(ground, able),
        _room(ground, lines),
    )


@dataclass(frozen=True)
class _Look:
    """What every line is made from."""

    ground: Ground
    on: On
    queue: Mapping[str, QueueEntry]
    samples: Sequence[Sample]
    device: Device


def _devices(look: _Look, lines: tuple[Line, ...]) -> int:
    """Return this machine's devices; those of the widest job where they are not known here."""
    gpus = look.ground.site.compute.gpus
    here = look.device.kind is None or visible_gpus() > 0
    if look.on == "local" and here:
        return slots(gpus) * gpus
    return max((line.gpus for line in lines), default=1)


def _line(look: _Look, job: Job, estimate: Estimate) -> Line:
    """Return the job's line."""
    state, reason = _state(look, job)
    share = done_share if state == "running" else saved_share
    left = 0.0 if state == "cached" else 1 - share(look.ground.store, job)
    gpus = devices_of(job, look.ground, look.on)
    watts, watts_from = watts_of(job, look.samples, look.device)
    return Line(job, state, reason, gpus, estimate, left, watts, watts_from)


def _state(look: _Look, job: Job) -> tuple[State, str]:
    """Return what a run would do with the job, and why."""
    found, entry = look.ground.store.state(job), look.queue.get(job.key)
    if found.name == "done":
        return "cached", ""
    if entry is not None:
        state: State = "running" if entry.state in ("running", "ending") else "queued"
        return state, " ".join(filter(None, [entry.id, entry.where or entry.reason]))
    if found.name != "running" and job.key in look.ground.blocked:
        return "blocked", look.ground.blocked[job.key]
    return STATES.get(found.name, "to run"), found.reason


def _room(ground: Ground, lines: tuple[Line, ...]) -> Room:
    """Return the room that those jobs need which are not done."""
    jobs = [line.job for line in lines if line.left]
    return room(jobs, ground.store, ground.plan.data_sizes, ground.site.compute.keep)


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
