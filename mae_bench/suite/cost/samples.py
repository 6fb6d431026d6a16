"""How long jobs took in this store, and how long a few steps of each kind took: what is known."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from mae_bench.core.files import write_json
from mae_bench.core.recipe import Recipe, build
from mae_bench.core.registry import load
from mae_bench.kit.archs import ARCHS
from mae_bench.suite.cost.counting import recipe_work
from mae_bench.suite.store import RESULT, believed_result

CALIBRATION = "calibration.json"
"""In the store: what `mae-bench plan --calibrate` timed."""


@dataclass(frozen=True)
class Sample:
    """One job whose time on one kind of device is known."""

    how: Literal["measured", "calibrated"]
    recipe: str
    arch: str
    data: str
    """Fingerprint of the data."""
    device: str
    gpu_seconds: float
    """Wall time times devices, of the whole job."""
    flops: float
    """Of the job on data as large as the published; only their ratios within one data set count. 0
    where they are not known."""
    watts: float = 0.0
    """Mean power of one device, 0 where it was not measured."""


def read_samples(store: Path) -> list[Sample]:
    """Return what the store's finished jobs and its calibration tell."""
    found = (_measured(path) for path in sorted(store.glob(f"*/{RESULT}")))
    return [*(one for one in found if one is not None), *_calibrated(store)]


def keep_calibrated(store: Path, samples: list[Sample]) -> None:
    """Remember what was timed, in place of what was known of the same kind of job and device."""
    new = {_kind(sample): sample for sample in samples}
    old = {_kind(sample): sample for sample in _calibrated(store)}
    write_json(store / CALIBRATION, [asdict(sample) for sample in (old | new).values()])


def nominal_flops(recipe: Recipe, arch: str) -> float:
    """Return the recipe's FLOPs on data as large as the published, 0 if they are not known."""
    work = recipe_work(recipe, ARCHS[arch]) if arch in ARCHS else None
    return 0.0 if work is None else work.flops


def _kind(sample: Sample) -> tuple[str, str, str, str]:
    """Return what makes two samples replace each other."""
    return sample.recipe, sample.arch, sample.data, sample.device


def _calibrated(store: Path) -> Iterator[Sample]:
    """Yield what was timed before; nothing that cannot be read."""
    try:
        entries = json.loads((store / CALIBRATION).read_text())
        samples = [Sample(**entry) for entry in entries]
        yield from (one for one in samples if _is_time(one.gpu_seconds))
    except (OSError, ValueError, TypeError):
        return


def _measured(path: Path) -> Sample | None:
    """Return what a result tells, None if it is not believed or tells nothing that can be used."""
    try:
        identity = json.loads(path.read_text())["provenance"]["identity"]
        name, fields = str(identity["recipe"]), identity["fields"]
        recipe = load(name)
        result = believed_result(path, path.parent.name, recipe.metrics)
        provenance = result.provenance
        facts, watts = provenance.get("facts", {}), float(provenance.get("mean_watts", 0.0))
        if identity["version"] != recipe.version or not _is_time(result.seconds):
            return None
        arch = str(facts.get("encoder", {}).get("arch") or fields.get("arch", ""))
        return Sample(
            "measured",
            name,
            arch,
            str(identity["data"]),
            str(provenance["device"]),
            result.seconds * _devices(provenance, facts),
            _flops(name, json.dumps(fields), arch),
            watts if math.isfinite(watts) else 0.0,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_time(seconds: float) -> bool:
    """Return whether a job can have taken so long."""
    return 0 <= seconds < math.inf


@lru_cache(maxsize=1024)
def _flops(name: str, fields: str, arch: str) -> float:
    """Return the nominal FLOPs of a recipe with the fields in that JSON; jobs share them."""
    return nominal_flops(build(load(name), json.loads(fields)), arch)


def _devices(provenance: Mapping[str, Any], facts: Mapping[str, Any]) -> int:
    """Return how many devices the job had."""
    return int(provenance.get("ranks") or facts.get("training", {}).get("world") or 1)
