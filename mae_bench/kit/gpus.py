"""Kinds of GPUs by their data sheets, and what this machine has; loads without torch."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class GpuKind:
    """One kind of GPU as its data sheet describes it."""

    name: str
    """The part of the driver's name that tells it."""
    peak_flops: float
    """Dense 16-bit tensor FLOP/s."""
    watts: float
    """Board power of the fastest variant."""


KINDS = (
    GpuKind("GB200", 2500e12, 1200.0),
    GpuKind("B200", 2250e12, 1000.0),
    GpuKind("GH200", 989e12, 700.0),
    GpuKind("H200", 989e12, 700.0),
    GpuKind("H100", 989e12, 700.0),
    GpuKind("H800", 989e12, 700.0),
    GpuKind("A100", 312e12, 400.0),
    GpuKind("A800", 312e12, 400.0),
    GpuKind("A30", 165e12, 165.0),
    GpuKind("A40", 150e12, 300.0),
    GpuKind("A10", 125e12, 150.0),
    GpuKind("A10G", 70e12, 300.0),
    GpuKind("L40S", 362e12, 350.0),
    GpuKind("L40", 181e12, 300.0),
    GpuKind("L4", 121e12, 72.0),
    GpuKind("RTX 6000 ADA", 364e12, 300.0),
    GpuKind("A6000", 155e12, 300.0),
    GpuKind("5090", 209e12, 575.0),
    GpuKind("4090", 165e12, 450.0),
    GpuKind("3090", 71e12, 350.0),
    GpuKind("V100", 125e12, 300.0),
    GpuKind("T4", 65e12, 70.0),
)
"""Of GeForce boards the rate with accumulation in 32 bits, as training has it."""


def kind_of(device: str) -> GpuKind | None:
    """Return the kind of a device such as "NVIDIA H200", None if it is none of the known ones."""
    words = f" {device.upper().replace('-', ' ')} "
    return next((kind for kind in KINDS if f" {kind.name} " in words), None)


def gpu_ids(driver: Path = DRIVER) -> tuple[str, ...]:
    """Return the NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(one.strip() for one in visible.split(",") if one.strip())
    return tuple(map(str, range(len(list(driver.iterdir()))))) if driver.is_dir() else ()


def visible_gpus(driver: Path = DRIVER) -> int:
    """Return the number of NVIDIA GPUs that this process may use."""
    return len(gpu_ids(driver))


def gpu_name(driver: Path = DRIVER) -> str:
    """Return the name of this machine's first GPU as the driver gives it, empty without one."""
    for path in sorted(driver.glob("*/information")):
        for line in path.read_text().splitlines():
            if line.startswith("Model:"):
                return line.partition(":")[2].strip()
    return ""


def cpu_name() -> str:
    """Return the processor's name, its architecture where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
