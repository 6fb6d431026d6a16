"""What the jobs of a suite ask a SLURM cluster for: the table [slurm] of site.toml."""

import dataclasses
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mae_bench.core.recipe import typed_value, unknown
from mae_bench.core.registry import OBJECTIVES, TASKS

TIME = re.compile(r"|\d+(:\d{1,2}){0,2}|\d+-\d+(:\d{1,2}){0,2}|(?i:unlimited|infinite)")
"""Minutes, minutes:seconds, hours:minutes:seconds, or days-hours and so on."""
WORD = re.compile(r"[\w.,:@+=*&|()!\[\]/-]*", re.ASCII)
"""What partitions, accounts, constraints and amounts are made of: no blanks, quotes or $."""
LEAST_NOTICE_S = 60
WHOLE = ("max_queued", "poll_s", "settle_s", "check_worker")
"""Settings of a whole run, which one recipe cannot have otherwise."""
OURS = {
    "job-name": "jobs are found by their name",
    "output": "it is log.txt in the job's folder",
    "error": "it is log.txt in the job's folder",
    "open-mode": "every start adds to log.txt",
    "chdir": "a job runs in its own folder",
    "array": "a job is one start",
    "wrap": "the script is job.sbatch",
    "dependency": "the plan decides it",
    "no-requeue": "preempted jobs are started again",
    "nodes": "set slurm.nodes",
    "ntasks": "one process starts on each node",
    "ntasks-per-node": "one process starts on each node",
    "wait": "the run follows its jobs by itself",
    "time": "set slurm.time",
    "signal": "set slurm.notice_s",
    "clusters": "the queue of one cluster is followed",
    "hold": "a run would wait for ever",
    "kill-on-invalid-dep": "jobs whose encoder failed have to leave the queue",
    "parsable": "it is set already",
    "test-only": "nothing would be submitted",
    "help": "nothing would be submitted",
    "usage": "nothing would be submitted",
    "version": "nothing would be submitted",
}
"""Options that a line of `extra` may not set, and why."""
SHORT = {"J": "job-name", "o": "output", "e": "error", "D": "chdir", "a": "array", "t": "time"} | {
    "d": "dependency",
    "N": "nodes",
    "n": "ntasks",
    "W": "wait",
    "M": "clusters",
    "H": "hold",
    "h": "help",
    "V": "version",
}


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """What each job asks for; empty texts leave it to the cluster's defaults."""

    partition: str = ""
    """One partition, or several separated by commas."""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    """Features that the nodes must have, such as a100."""
    time: str = ""
    """Time limit of one start, such as 24:00:00 or 2-00:00:00; jobs continue in the next."""
    nodes: int = 1
    gpus_per_node: int = 0
    """0: as many as compute.gpus says. Jobs that train nothing take one node and one GPU."""
    gres: str = "gpu"
    """How the cluster calls a GPU: gpu, or gpu:a100; empty where it has none to ask for."""
    cpus_per_gpu: int = 0
    """CPU cores for each GPU; 0: the cluster's default."""
    memory: str = ""
    """Memory of each node, such as 200G; 0 for all of it."""
    notice_s: int = 120
    """Seconds before the time limit, and of a preemption where the cluster allows it, at which
    a job is told to save itself. At least 60: SLURM may be a minute off."""
    container: str = ""
    """Command that the job's Python runs in, such as apptainer exec --nv image.sif."""
    python: str = ""
    """Interpreter on the workers, such as the container's; empty: the same as here."""
    setup: tuple[str, ...] = ()
    """Lines of shell before the job, such as module load cuda."""
    extra: tuple[str, ...] = ()
    """Further options of sbatch, such as --exclude=n3."""
    max_queued: int = 0
    """Most jobs in the queue at once; 0: as many as the cluster takes."""
    poll_s: int = 20
    """Seconds between two looks at the queue while a run is followed."""
    settle_s: int = 30
    """Seconds that the files of a job that left the queue may be late."""
    check_worker: bool = True
    """Whether a short job looks at a worker before the first job starts."""

    def __post_init__(self) -> None:
        for name in ("partition", "account", "qos", "constraint", "gres", "memory"):
            fits = bool(WORD.fullmatch(getattr(self, name)))
            _require(self, name, "made of letters, digits and signs such as - _ . , : /", fits)
        fits = bool(TIME.fullmatch(self.time))
        _require(self, "time", "such as 24:00:00 or 2-00:00:00", fits)
        for name in ("nodes", "poll_s"):
            _require(self, name, ">= 1", getattr(self, name) >= 1)
        for name in ("gpus_per_node", "cpus_per_gpu", "max_queued", "settle_s"):
            _require(self, name, ">= 0", getattr(self, name) >= 0)
        allowed = f">= {LEAST_NOTICE_S}, since SLURM may be a minute off and a save takes time"
        _require(self, "notice_s", allowed, self.notice_s >= LEAST_NOTICE_S)
        limit = seconds_in(self.time)
        allowed = f"less than slurm.time, which is {self.time}"
        _require(self, "notice_s", allowed, limit is None or self.notice_s < limit)
        lines = {"container": (self.container,), "python": (self.python,), "setup": self.setup}
        for name, texts in lines.items():
            _require(self, name, "without line breaks", not any(map(_breaks, texts)))
        _require(self, "container", "a command whose quotes close", _closes(self.container))
        for line in self.extra:
            _check_extra(line)


@dataclass(frozen=True)
class SlurmTable:
    """What all jobs ask for, and what those of some recipes ask for instead."""

    common: Slurm = field(default_factory=Slurm)
    recipes: Mapping[str, Slurm] = field(default_factory=dict)

    def of(self, recipe: str) -> Slurm:
        """Return what a job of that recipe asks for."""
        return self.recipes.get(recipe, self.common)


def slurm_from(values: Mapping[str, Any], where: str) -> SlurmTable:
    """Return the settings of [slurm] and of its tables [slurm.RECIPE], which go before it.

    Raises ValueError naming an unknown key with the nearest one, or a wrong value.
    """
    own = {key: value for key, value in values.items() if not isinstance(value, dict)}
    common = _slurm(own, Slurm(), "slurm", where)
    recipes = {}
    for name, table in values.items():
        if not isinstance(table, dict):
            continue
        if name not in OBJECTIVES | TASKS:
            raise ValueError(f"{where}: " + unknown("recipe of [slurm]", name, OBJECTIVES | TASKS))
        for key in table.keys() & set(WHOLE):
            raise ValueError(f"{where}: [slurm.{name}] cannot set {key}: set it in [slurm] for all")
        recipes[name] = _slurm(table, common, f"slurm.{name}", where)
    return SlurmTable(common, recipes)


def _slurm(values: Mapping[str, Any], base: Slurm, label: str, where: str) -> Slurm:
    """Return `base` with the values of a table over it."""
    known = {one.name: one.type for one in dataclasses.fields(Slurm)}
    for name in values:
        if name not in known:
            raise ValueError(f"{where}: " + unknown(f"key of [{label}]", name, known))
    typed = {k: typed_value(f"{where}: {label}.{k}", v, known[k]) for k, v in values.items()}
    try:
        return dataclasses.replace(base, **typed)
    except ValueError as error:
        raise ValueError(f"{where}: {str(error).replace('slurm.', f'{label}.', 1)}") from error


def seconds_in(time: str) -> int | None:
    """Return the seconds of a time limit as the scheduler reads it, None without a limit."""
    if not time or not time[0].isdigit():
        return None
    days, _, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if not days and len(parts) < 3:
        parts = [0, *parts]  # minutes, and seconds
    hours, minutes, seconds = (*parts, 0, 0)[:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def _check_extra(line: str) -> None:
    """Raise ValueError unless the line holds options that are the user's to set."""
    if not re.match(r"-[A-Za-z]|--[a-z]", line) or _breaks(line) or not _closes(line):
        raise ValueError(f"slurm.extra must hold options such as --exclude=n3, got {line!r}")
    for word in shlex.split(line):
        name = word[2:].partition("=")[0] if word.startswith("--") else SHORT.get(word[1:2], "")
        for ours, why in OURS.items() if word.startswith("-") and name else ():
            if ours.startswith(name):  # sbatch takes beginnings of names
                raise ValueError(f"slurm.extra must not set --{ours} ({why}), got {line!r}")


def _closes(command: str) -> bool:
    """Return whether a shell could part the command into words."""
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True


def _breaks(line: str) -> bool:
    """Return whether the text is more than one line, or holds what ends one for a program."""
    return any(sign in line for sign in "\n\r\0")


def _require(slurm: Slurm, field: str, allowed: str, valid: bool) -> None:
    """Raise ValueError naming the setting unless valid."""
    if not valid:
        raise ValueError(f"slurm.{field} must be {allowed}, got {getattr(slurm, field)!r}")
