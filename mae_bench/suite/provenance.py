"""What may explain a job's numbers later: versions, machine, times; no paths, no host names."""

import contextlib
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from mae_bench.core.fidelity import values_of
from mae_bench.core.files import FACTS
from mae_bench.core.recipe import Recipe
from mae_bench.kit.gpus import cpu_name
from mae_bench.kit.power import energy_of

PACKAGES = ("mae-bench", "torch", "torchvision", "timm", "numpy")
TOOLBOXES = {
    "detectron2": ("sal-detectron2", "detectron2", "faster-coco-eval"),
    "mmseg": ("mmsegmentation", "mmengine", "mmcv-lite", "mmcv"),
}

NEEDED = (
    "identity",
    "started",
    "finished",
    "git",
    "python",
    "versions",
    "device",
    "ranks",
    "facts",
)
"""What every result's provenance must have; git may be empty, outside a checkout."""


def provenance(folder: Path, job: dict[str, Any], recipe: Recipe, started: float) -> dict[str, Any]:
    """Return the provenance of a job that ran here since `started`, in seconds of the epoch."""
    return {
        "identity": job["identity"],
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": _revision(),
        "python": platform.python_version(),
        "versions": _versions(recipe.resources.framework),
        "device": _device(),
        "ranks": int(os.environ.get("WORLD_SIZE", "1")),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        **energy_of(folder),
        "values": values_of(recipe, facts(folder)),
        "facts": facts(folder),
    }


def facts(folder: Path) -> dict[str, Any]:
    """Return what the recipe recorded about its run."""
    path = folder / FACTS
    return json.loads(path.read_text()) if path.exists() else {}


def _versions(framework: str) -> dict[str, str]:
    """Return the versions of the packages that a framework's numbers depend on."""
    versions = {}
    for package in PACKAGES + TOOLBOXES.get(framework, ()):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def _device() -> str:
    """Return the GPU's name as torch sees it, or the processor's."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return cpu_name()


def _revision() -> str:
    """Return the git revision of this checkout, '+' if changed, empty outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip()
