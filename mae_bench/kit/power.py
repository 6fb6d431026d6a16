"""The power that a job's GPUs draw, as nvidia-smi tells it while the job runs; never torch."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mae_bench.core.files import write_json
from mae_bench.kit.gpus import visible_gpus

ENERGY = "energy.json"
"""In a job's folder: joules and GPU-seconds of all attempts so far that were measured."""
EVERY_S = 5
WATTS = re.compile(r"\s*(\d+(?:\.\d+)?)")


class Meter:
    """Collects the watts of some GPUs until it is stopped; finding none harms nobody."""

    def __init__(self, program: str, devices: list[str]) -> None:
        self.watts: list[float] = []
        command = [program, "--query-gpu=power.draw", "--format=csv,noheader,nounits"]
        command += [f"--id={','.join(devices)}", f"--loop={EVERY_S}"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def stop(self) -> list[float]:
        """End the measurement and return every reading in watts, of whichever GPU."""
        self.process.terminate()
        self.reader.join()
        self.process.wait()
        return self.watts

    def _read(self) -> None:
        """Take down readings until there are no more."""
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                found = WATTS.match(line)  # [N/A] where the board does not tell
                if found:
                    self.watts.append(float(found[1]))


@contextmanager
def metered(folder: Path) -> Iterator[None]:
    """Measure the power of this job's GPUs for the time of the block, and add it to energy.json.

    On several nodes those of the first stand for all. Without a GPU or nvidia-smi nothing happens;
    what an attempt drew that was killed is not known.
    """
    program, devices = shutil.which("nvidia-smi"), own_devices()
    meter = None
    if program and devices:
        with contextlib.suppress(OSError):
            meter = Meter(program, devices)
    started = time.monotonic()
    try:
        yield
    finally:
        watts = meter.stop() if meter is not None else []
        if watts:
            ranks = max(len(devices), int(os.environ.get("WORLD_SIZE", "1")))
            _add(folder, sum(watts) / len(watts), ranks * (time.monotonic() - started))


def energy_of(folder: Path) -> dict[str, float]:
    """Return energy_kwh and mean_watts (of one GPU) of a job; nothing if they were not measured."""
    known = _read(folder)
    if not known["gpu_seconds"]:
        return {}
    return {
        "energy_kwh": round(known["joules"] / 3.6e6, 6),
        "mean_watts": round(known["joules"] / known["gpu_seconds"], 1),
    }


def own_devices() -> list[str]:
    """Return the GPUs that this job's ranks on this node use, as nvidia-smi names them.

    CUDA's numbers are taken for nvidia-smi's, which is so where all GPUs are of one kind.
    """
    count = min(visible_gpus(), int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = list(map(str, range(count))) if visible is None else visible.split(",")
    return [name.strip() for name in names if name.strip()][:count]


def _add(folder: Path, watts: float, gpu_seconds: float) -> None:
    """Add an attempt's energy to that of those before."""
    known = _read(folder)
    joules = known["joules"] + watts * gpu_seconds
    total = {"joules": joules, "gpu_seconds": known["gpu_seconds"] + gpu_seconds}
    with contextlib.suppress(OSError):  # a full disk costs this number, not the job
        write_json(folder / ENERGY, total)


def _read(folder: Path) -> dict[str, float]:
    """Return the sums so far, zeros if there are none that can be read."""
    try:
        known: dict[str, Any] = json.loads((folder / ENERGY).read_text())
        return {name: float(known[name]) for name in ("joules", "gpu_seconds")}
    except (OSError, ValueError, KeyError, TypeError):
        return {"joules": 0.0, "gpu_seconds": 0.0}
