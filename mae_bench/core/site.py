"""Facts of this machine, which never change a number: store, data, interpreters, cluster."""

import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mae_bench.core.compute import Compute, compute_from
from mae_bench.core.recipe import unknown
from mae_bench.core.slurm import SlurmTable, slurm_from

DATASETS = ("imagenet", "coco", "ade20k", "voc", "imagenet_robustness")
FRAMEWORKS = ("torch", "detectron2", "mmseg")
KEYS = ("store", "data", "python", "compute", "slurm")


@dataclass(frozen=True)
class Site:
    """One machine or cluster, read from site.toml; every entry has a default."""

    store: Path = Path("runs")
    """Where checkpoints, logs and results of jobs live."""
    data: Mapping[str, Path] = field(default_factory=dict)
    """Data set name -> its root folder."""
    python: Mapping[str, Path] = field(default_factory=dict)
    """Framework -> the interpreter that has it; the running one if absent."""

    compute: Compute = field(default_factory=Compute)
    """How training uses this machine."""
    slurm: SlurmTable = field(default_factory=SlurmTable)
    """What jobs ask a SLURM cluster for."""

    def interpreter(self, framework: str) -> Path:
        """Return the Python that runs jobs of that framework."""
        return self.python.get(framework, Path(sys.executable))


def read_site(path: Path) -> Site:
    """Return the site described by a TOML file; relative paths are relative to the file.

    Raises ValueError for unknown keys or wrong types, naming the nearest key.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    for key in table:
        if key not in KEYS:
            raise ValueError(f"{path}: " + unknown("key", key, KEYS))
    root = path.resolve().parent
    return Site(
        store=root / _string(path, "store", table.get("store", "runs")),
        data=_paths(path, "data", table.get("data", {}), DATASETS),
        python=_paths(path, "python", table.get("python", {}), FRAMEWORKS),
        compute=compute_from(_table(path, "compute", table.get("compute", {})), str(path)),
        slurm=slurm_from(_table(path, "slurm", table.get("slurm", {})), str(path)),
    )


def _paths(path: Path, name: str, table: Any, known: tuple[str, ...]) -> dict[str, Path]:
    """Return the named table as absolute paths."""
    for key in _table(path, name, table):
        if key not in known:
            raise ValueError(f"{path}: " + unknown(f"key of [{name}]", key, known))
    root = path.resolve().parent
    return {k: root / Path(_string(path, f"{name}.{k}", v)).expanduser() for k, v in table.items()}


def _table(path: Path, name: str, value: Any) -> dict[str, Any]:
    """Return value if it is a table, else raise ValueError naming the key."""
    if not isinstance(value, dict):
        raise ValueError(f"{path}: {name} must be a table [{name}], got {value!r}")
    return value


def _string(path: Path, key: str, value: Any) -> str:
    """Return value if it is a string, else raise ValueError naming the key."""
    if not isinstance(value, str):
        raise ValueError(f"{path}: {key} must be a string, got {value!r}")
    return value
