"""Looks at a worker before the first job: python -m mae_bench.suite.launch.slurm.worker DIR.

It is what the first job in the queue runs, and what it finds is compared with the login node.
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mae_bench
from mae_bench.core.files import write_json
from mae_bench.kit.gpus import visible_gpus
from mae_bench.suite.toolboxes import versions

WANTED, FOUND = "wanted.json", "found.json"
PACKAGES = ("mae_bench", "pretrain", "transfer")
TORCH_SEES = "import torch; print(torch.cuda.device_count())"


def code_digest() -> str:
    """Return the first 12 hex digits of the hash of all of this program's own modules."""
    root = Path(mae_bench.__file__).parents[1]
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def software(interpreters: Mapping[str, str]) -> dict[str, Any]:
    """Return the versions of what each framework's interpreter has, and of this program."""
    found: dict[str, Any] = {"mae-bench": mae_bench.__version__, "its code": code_digest()}
    for framework, interpreter in interpreters.items():
        known = versions(framework, Path(interpreter))
        if known is None:
            found[f"Python for {framework}"] = f"none at {interpreter}"
        for module, version in (known or {}).items():
            found[f"{module} ({framework})" if module in found else module] = version or "none"
    return found


def problems(wanted: Mapping[str, Any], folder: Path) -> list[str]:
    """Return what is other on this machine than the login node said, a line for each."""
    here = socket.gethostname()
    lines = [
        f"{name}: {value} on the login node, {other} on {here}"
        for name, value, other in _pairs(wanted["software"], software(wanted["interpreters"]))
        if value != other
    ]
    lines += [
        f"data.{name}: no folder {root} on {here}"
        for name, root in wanted["roots"].items()
        if not Path(root).is_dir()
    ]
    return lines + _unwritable(folder, here) + _gpu_problems(wanted, here)


def _pairs(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return every name with what the login node has and what is here."""
    return [(n, wanted.get(n, "none"), found.get(n, "none")) for n in {**wanted, **found}]


def _unwritable(folder: Path, here: str) -> list[str]:
    """Return a problem if the store's folder takes no file here."""
    try:
        write_json(folder / "written.json", here)
    except OSError as error:
        return [f"store: cannot write {folder} on {here} ({error.strerror})"]
    return []


def _gpu_problems(wanted: Mapping[str, Any], here: str) -> list[str]:
    """Return what is wrong with the GPUs; a machine without their driver runs on its cores."""
    found, asked = visible_gpus(), wanted["gpus"]
    if asked and found != asked:
        return [f"GPUs: {asked} asked for, {found} given on {here}"]
    if not asked or not Path("/proc/driver/nvidia/gpus").is_dir():
        return []
    answer = subprocess.run(
        [wanted["interpreters"]["torch"], "-c", TORCH_SEES],
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.stdout.strip() != str(asked):
        seen = answer.stdout.strip() or answer.stderr.strip()[-200:]
        return [f"GPUs: {asked} given on {here}, torch sees {seen}"]
    return []


def cores() -> int:
    """Return how many CPU cores this job may use here."""
    free, given = len(os.sched_getaffinity(0)), os.environ.get("SLURM_CPUS_ON_NODE", "")
    return min(free, int(given)) if given.isdecimal() else free


def gpu_names() -> str:
    """Return the GPUs that nvidia-smi lists, empty without it."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return ", ".join(filter(None, answer.stdout.splitlines()))


def main() -> None:
    """Leave found.json in the folder; exit with 1 if something is other than wanted."""
    folder = Path(sys.argv[1]).resolve()
    wanted = json.loads((folder / WANTED).read_text())
    lines = problems(wanted, folder)
    told = {
        "id": os.environ.get("MAE_BENCH_START", ""),
        "host": socket.gethostname(),
        "gpus": gpu_names(),
        "cores": cores(),
        "problems": lines,
    }
    try:
        write_json(folder / FOUND, told)
    except OSError as error:
        lines.append(str(error))
    print("\n".join(lines) or "all as on the login node")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
