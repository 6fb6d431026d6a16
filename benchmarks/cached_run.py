"""What a run costs in which everything is cached: a suite of 200 finished jobs, tables included.

python benchmarks/cached_run.py [--rounds 5]
The whole commands are timed, beside a bare import of pandas, which makes the tables.
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mae_bench.core.site import Site
from mae_bench.suite.preflight import survey
from mae_bench.suite.store import RESULT, SCHEMA, Store, sealed
from mae_bench.suite.suite import read_suite

SEEDS = 17
ENCODERS = """
[encoders."{label}"]
recipe = "random_init"
size = "demo"
seeds = "each"
image_size = {side}
"""
TASKS = ("imagenet_finetune", "imagenet_linear", "imagenet_knn")
ROOT = Path(__file__).parents[1]


def main() -> None:
    """Make the store, time the commands and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = finished_store(folder)
        program = [sys.executable, "-m", "mae_bench"]
        suite = ["--suite", "suite.toml"]
        commands = {
            f"run of {count} cached jobs": [*program, "run", *suite],
            f"plan of {count} cached jobs": [*program, "plan", *suite],
            "plan of the full suite": [*program, "plan", "--suite", "full", "--store", "none"],
            "--help": [*program, "--help"],
            "import pandas": [sys.executable, "-c", "import pandas"],
        }
        seconds = {
            what: [taken(command, folder) for _ in range(options.rounds + 1)][1:]
            for what, command in commands.items()
        }
    width = max(map(len, seconds))
    for what, times in seconds.items():
        wall, cpu = (statistics.median(part) for part in zip(*times, strict=True))
        print(f"{what:{width}}  {wall:.2f} s, of it {cpu:.2f} s computing")


def finished_store(folder: Path) -> int:
    """Write a suite, the folders of data that it names and a result of each job; count them."""
    text = f'name = "cached"\nseeds = {list(range(SEEDS))}\n'
    text += "".join(ENCODERS.format(label=f"Random {side}", side=side) for side in (32, 48, 64))
    text += "".join(f'[[tasks]]\nrecipe = "{task}"\nsize = "demo"\n' for task in TASKS)
    (folder / "suite.toml").write_text(text)
    for split in ("train", "val"):
        (folder / "imagenet" / split / "ant").mkdir(parents=True)
        (folder / "imagenet" / split / "ant" / "0.JPEG").write_bytes(b"any")
    (folder / "site.toml").write_text('[data]\nimagenet = "imagenet"\n')
    site = Site(store=folder / "runs", data={"imagenet": folder / "imagenet"})
    ground = survey(read_suite(folder / "suite.toml"), site)
    numbers = random.Random(0)
    for job in ground.plan.jobs:
        write_result(ground.store, job, numbers)
    return len(ground.plan.jobs)


def write_result(store: Store, job, numbers: random.Random) -> None:
    """Leave what a finished job leaves for the tables: job.json, metrics.jsonl, result.json."""
    out = store.prepare(job, None)
    lines = [{"step": step, "steps": 100, "time": 0.0, "loss": 1.0} for step in range(1, 101)]
    (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    content = {
        "schema": SCHEMA,
        "key": job.key,
        "metrics": {m.name: numbers.uniform(20, 80) for m in job.recipe.metrics},
        "fidelity": [f"deviation {number}" for number in range(8)],
        "seconds": numbers.uniform(20, 80),
        "provenance": {
            "identity": job.identity,
            "versions": {"torch": "2.11.0", "timm": "1.0.1", "mae-bench": "0.1.0"},
            "git": "abc1234",
            "device": "a processor",
            "facts": {
                "encoder": {
                    "arch": "vit_demo_patch8",
                    "origin": "random_init",
                    "params": 807_936,
                    "flops": 52_000_000,
                    "sha256": 64 * "0",
                },
                "data": {"classes": 8, "images": 1600, "val_images": 640},
                "training": {"world": 1, "micro_batch": 64, "precision": "float32"},
            },
        },
    }
    (out / RESULT).write_text(json.dumps(sealed(content), indent=2))


def taken(command: list[str], folder: Path) -> tuple[float, float]:
    """Return the seconds that the command takes there, and those that it computes.

    The second hardly depend on what else the machine does.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    start, before = time.perf_counter(), computed()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - start, computed() - before


def computed() -> float:
    """Return the processor seconds of all child processes so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
