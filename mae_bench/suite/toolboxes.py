"""Whether an interpreter has what a framework's jobs need, and the command that mends it."""

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib import metadata, util
from pathlib import Path

PROBE = """
import json, sys
from importlib import metadata, util
found = {}
for module, name in json.loads(sys.argv[1]):
    try:
        found[module] = metadata.version(name) if util.find_spec(module) else None
    except (metadata.PackageNotFoundError, ImportError, ValueError):
        found[module] = "unknown" if util.find_spec(module) else None
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Need:
    """A module that a framework needs, the distribution that carries it, and how to get it."""

    module: str
    distribution: str
    install: str


TORCH = (
    Need("torch", "torch", "pip install torch torchvision"),
    Need("torchvision", "torchvision", "pip install torch torchvision"),
    Need("timm", "timm", "pip install timm"),
)
COCO = "pip install 'mae-bench[coco]'"
DETECTRON2 = (
    "pip install --no-build-isolation git+https://github.com/facebookresearch/detectron2"
    " (or `make venv`, which needs the package index alone)"
)
ADE20K = "pip install 'mae-bench[ade20k]'"
NEEDS: dict[str, tuple[Need, ...]] = {
    "torch": TORCH,
    "detectron2": (
        *TORCH,
        Need("detectron2", "sal-detectron2", DETECTRON2),
        Need("pycocotools", "pycocotools", COCO),
        Need("faster_coco_eval", "faster-coco-eval", COCO),
        Need("shapely", "shapely", COCO),
        Need("pkg_resources", "setuptools", "pip install 'setuptools<82'"),
    ),
    "mmseg": (
        *TORCH,
        Need("mmseg", "mmsegmentation", ADE20K),
        Need("mmengine", "mmengine", ADE20K),
        Need("mmcv", "mmcv-lite", "pip install mmcv-lite==2.1.0"),
        Need("ftfy", "ftfy", ADE20K),
        Need("regex", "regex", ADE20K),
    ),
}


def missing(framework: str, interpreter: Path) -> str | None:
    """Return what that interpreter lacks for the framework's jobs, with the mending command.

    None if nothing is missing.
    """
    found = versions(framework, interpreter)
    if found is None:
        return f"{framework}: no Python at {interpreter}; set python.{framework} in site.toml"
    for need in NEEDS[framework]:
        if found[need.module] is None:
            return f"{framework}: {need.module} is not installed; {need.install}"
    mmcv = found.get("mmcv")
    if mmcv and mmcv != "unknown" and not (2, 0) <= _numbers(mmcv) < (2, 2):
        return f"mmseg: mmcv {mmcv} is installed, mmsegmentation needs >= 2.0 and < 2.2; " + (
            "pip install mmcv-lite==2.1.0"
        )
    return None


@cache
def versions(framework: str, interpreter: Path) -> dict[str, str | None] | None:
    """Return module -> version (None if absent) for what the framework needs; None without Python.

    Nothing is imported: the interpreter only looks its modules up.
    """
    if interpreter == Path(sys.executable):
        return {need.module: _version(need) for need in NEEDS[framework]}
    pairs = json.dumps([(need.module, need.distribution) for need in NEEDS[framework]])
    try:
        answer = subprocess.run(
            [interpreter, "-c", PROBE, pairs], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    found: dict[str, str | None] = json.loads(answer.stdout)
    return found


def _version(need: Need) -> str | None:
    """Return the installed version, 'unknown' if the module has no metadata, None if absent."""
    if util.find_spec(need.module) is None:
        return None
    try:
        return metadata.version(need.distribution)
    except metadata.PackageNotFoundError:
        return "unknown"


def _numbers(version: str) -> tuple[int, int]:
    """Return the first two numbers of a version."""
    major, minor, *_ = version.split(".")
    return int(major), int(minor)
