"""Runs one job's folder to its result: python -m mae_bench.suite.execute DIR."""

import contextlib
import ctypes
import fcntl
import json
import logging
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from mae_bench.core.compute import read_compute
from mae_bench.core.fidelity import fidelity, values_of
from mae_bench.core.files import FACTS, write_json
from mae_bench.core.recipe import Context, Recipe, build
from mae_bench.kit.loss_figure import loss_figure
from mae_bench.suite.audits import broken, wanted_of
from mae_bench.suite.store import FAILURE, JOB, LOCK, RESULT, SCHEMA, check_metrics, read_result
from mae_bench.suite.torchrun import run_ranks

log = logging.getLogger(__name__)

SPENT = "seconds.json"
"""Wall time of the attempts before this one."""
BUSY = 76
"""Exit code when another process runs the job."""
DIES_WITH_PARENT = "MAE_BENCH_PARENT"
"""Environment variable: process id of the launcher that this process must not outlive."""
PR_SET_PDEATHSIG = 1
PACKAGES = ("mae-bench", "torch", "torchvision", "timm", "numpy")
TOOLBOXES = {
    "detectron2": ("sal-detectron2", "detectron2", "faster-coco-eval"),
    "mmseg": ("mmsegmentation", "mmengine", "mmcv-lite", "mmcv"),
}


def execute(folder: Path) -> int:
    """Run the job in folder and return the exit code: 0 done, 1 failed, 76 run by another.

    result.json is written last, whole; a failure leaves failure.json with its reason. Of several
    ranks the first does so, and the others run the recipe beside it.
    """
    if int(os.environ.get("RANK", "0")) > 0:
        return _follow(folder)
    with _locked(folder / LOCK) as mine:
        if not mine:
            log.error("another process already runs %s", folder.name)
            return BUSY
        job = json.loads((folder / JOB).read_text())
        recipe = recipe_of(job)
        if read_result(folder / RESULT, job["key"], recipe.metrics) is not None:
            return 0
        return _attempt(folder, job, recipe)


def recipe_of(job: dict[str, Any]) -> Recipe:
    """Return the recipe that a job.json names, with its fields."""
    module, _, name = job["target"].partition(":")
    cls: type[Recipe] = getattr(import_module(module), name)
    return build(cls, job["fields"])


def _follow(folder: Path) -> int:
    """Run the recipe as one of the further ranks; return 0, or 1 with failure.json left."""
    job = json.loads((folder / JOB).read_text())
    recipe = recipe_of(job)
    if read_result(folder / RESULT, job["key"], recipe.metrics) is not None:
        return 0
    try:
        recipe.run(_context(folder, job))
    except Exception as error:
        _fail(folder, error)
        return 1
    return 0


def _context(folder: Path, job: dict[str, Any]) -> Context:
    """Return what the recipe may know."""
    data, encoder = (None if job[key] is None else Path(job[key]) for key in ("data", "encoder"))
    return Context(folder, job["seed"], data, encoder)


def _fail(folder: Path, error: Exception) -> None:
    """Leave why the job failed; of several ranks the first to fail knows best."""
    traceback.print_exc()
    if not (folder / FAILURE).exists():
        write_json(
            folder / FAILURE, {"message": _message(error), "traceback": traceback.format_exc()}
        )


def _message(error: Exception) -> str:
    """Return the error in one line; of one that a worker process caught, what it caught."""
    lines = str(error).strip().splitlines() or [""]
    return lines[-1] if lines[0].startswith("Caught ") else f"{type(error).__name__}: {lines[0]}"


def _attempt(folder: Path, job: dict[str, Any], recipe: Recipe) -> int:
    """Run the recipe once; leave a result or a failure."""
    started = time.time()
    (folder / FAILURE).unlink(missing_ok=True)
    try:
        _check_data(folder, job, recipe)
        metrics = recipe.run(_context(folder, job))
        check_metrics(metrics, recipe.metrics)
        loss_figure(folder)
    except SystemExit:
        _spend(folder, time.time() - started)
        raise
    except Exception as error:
        _spend(folder, time.time() - started)
        _fail(folder, error)
        loss_figure(folder)
        return 1
    write_json(
        folder / RESULT,
        {
            "schema": SCHEMA,
            "key": job["key"],
            "metrics": {name: float(value) for name, value in metrics.items()},
            "fidelity": fidelity(recipe, _facts(folder)),
            "seconds": round(_spend(folder, time.time() - started), 1),
            "provenance": _provenance(folder, job, recipe, started),
        },
    )
    log.info("done: %s", metrics)
    return 0


def _check_data(folder: Path, job: dict[str, Any], recipe: Recipe) -> None:
    """Raise ValueError if the job's data is broken; what was found fine is not looked at again."""
    if job["data"] is not None:
        wanted = wanted_of(recipe, Path(job["data"]))
        problem = broken(wanted, folder.parent, lambda done, total: None)
        if problem:
            raise ValueError(problem)


def _provenance(
    folder: Path, job: dict[str, Any], recipe: Recipe, started: float
) -> dict[str, Any]:
    """Return what may explain the numbers later; no paths and no host names."""
    packages = PACKAGES + TOOLBOXES.get(recipe.resources.framework, ())
    versions = {}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "identity": job["identity"],
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": _revision(),
        "python": platform.python_version(),
        "versions": versions,
        "device": _device(),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "values": values_of(recipe, _facts(folder)),
        "facts": _facts(folder),
    }


def _facts(folder: Path) -> dict[str, Any]:
    """Return what the recipe recorded about its run."""
    path = folder / FACTS
    return json.loads(path.read_text()) if path.exists() else {}


def _device() -> str:
    """Return the GPU's name as torch sees it, or the processor's."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _revision() -> str:
    """Return the git revision of this checkout, '+' if changed, empty outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip()


def _spend(folder: Path, seconds: float) -> float:
    """Add the attempt's seconds to those before and return the sum."""
    path = folder / SPENT
    try:
        before = float(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        before = 0.0
    write_json(path, before + seconds)
    return before + seconds


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold the lock file for the time of the block; False if another process has it.

    The kernel lets go of it when this process ends, however it ends.
    """
    with path.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield True


def _die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the launcher ends, so that it leaves no orphan."""
    parent = os.environ.pop(DIES_WITH_PARENT, None)
    if parent is None and "RANK" not in os.environ:
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != int(parent):
        raise SystemExit("the launcher ended before the job began")


def main() -> None:
    """Execute the folder named on the command line, on as many ranks as its compute.json says."""
    _die_with_parent()
    folder = Path(sys.argv[1])
    num_ranks = read_compute(folder).gpus
    if num_ranks > 1 and "RANK" not in os.environ:
        sys.exit(run_ranks(folder, num_ranks))
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, lambda number, frame: sys.exit(75))
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stdout
    )
    sys.exit(execute(folder))


if __name__ == "__main__":
    main()
