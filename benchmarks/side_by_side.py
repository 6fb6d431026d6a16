"""Times things against each other in one run: order alternating, medians, ratio."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

Work = Callable[[], None]


def medians(
    works: Mapping[str, Work], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Return each work's median seconds; every round does all of them, every other one reversed."""
    for work in works.values():  # caches, compilation, memory pools
        work()
        work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        names = list(works) if number % 2 == 0 else list(reversed(works))
        for name in names:
            synchronize()
            start = clock()
            works[name]()
            synchronize()
            seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def report(title: str, lines: Mapping[str, str]) -> None:
    """Print a title, the machine and one line a figure."""
    print(f"\n{title}\n  {machine()}")
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"  {name:{width}}  {value}", flush=True)


def machine() -> str:
    """Return what the figures were measured on; no host names."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    cores = len(os.sched_getaffinity(0))
    name = models[0] if models else platform.machine()
    return f"{cores} cores of {name}, {torch.get_num_threads()} threads, torch {torch.__version__}"
