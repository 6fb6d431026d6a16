"""Times a few steps of each kind of job on this machine, through the program that runs jobs.

What is timed is training: evaluation at the end, start-up, checkpoints and cold caches are not
seen. Kinds without steps of their own, such as nearest neighbours, stay estimated.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mae_bench.core.files import METRICS
from mae_bench.core.job import Job
from mae_bench.core.parent import PARENT
from mae_bench.core.registry import load
from mae_bench.kit.gpus import cpu_name, gpu_name, visible_gpus
from mae_bench.suite.audits import MEMORY
from mae_bench.suite.cost.counting import job_arch
from mae_bench.suite.cost.device import slots
from mae_bench.suite.cost.samples import Sample, keep_calibrated, nominal_flops, read_samples
from mae_bench.suite.preflight import Ground
from mae_bench.suite.store import FAILURE, LOG, RESULT, Store

SCRATCH = "calibrating"
"""Folder in the store for the jobs that are timed; deleted after each."""
WARM_LINES = 2
"""First lines of progress that do not count: compilation and cold caches."""
ENOUGH_S, ENOUGH_LINES = 10.0, 4
"""What must lie between the first line that counts and the last."""
AT_MOST_S = 180.0
"""Longest wait for that."""
GRACE_S = 60.0
POLL_S = 0.2

Say = Callable[[str], None]


@dataclass(frozen=True)
class Bench:
    """Where jobs are timed, and for what."""

    ground: Ground
    store: Store
    """The scratch store."""
    device: str


def calibrate(ground: Ground, say: Say) -> list[Sample]:
    """Time one job of each kind that nothing is known of here, remember and return what was found.

    A kind is a recipe, an encoder size and a data set. The ground must be prepared. Encoders are
    random ones of the row's size.
    """
    device = gpu_name() if visible_gpus() else cpu_name()
    bench = Bench(ground, Store(ground.store.root / SCRATCH), device)
    bench.store.root.mkdir(parents=True, exist_ok=True)
    if (ground.store.root / MEMORY).exists():  # data that was found fine is not looked at again
        shutil.copy(ground.store.root / MEMORY, bench.store.root / MEMORY)
    found = []
    try:
        for job in _unknown(bench):
            sample = _timed(bench, job, say)
            if sample is not None:
                found.append(sample)
                keep_calibrated(ground.store.root, [sample])
    finally:
        shutil.rmtree(bench.store.root, ignore_errors=True)
    return found


def _unknown(bench: Bench) -> Iterator[Job]:
    """Yield a job of each kind that can run here and that no result or timing is known of."""
    known = {
        (sample.recipe, sample.arch, sample.data)
        for sample in read_samples(bench.ground.store.root)
        if sample.device == bench.device
    }
    for job in bench.ground.plan.jobs:
        kind = (job.recipe.name, job_arch(job), job.data_fingerprint)
        if kind not in known and job.key not in bench.ground.blocked and job.recipe.metrics:
            known.add(kind)
            yield job


def _timed(bench: Bench, job: Job, say: Say) -> Sample | None:
    """Return how long the whole job would take by a few of its steps; None after saying why not."""
    what = f"{job.recipe.name} of {job.row}"
    if job.recipe.after:
        say(f"not timed: {what} measures a fine-tuned model, and there is none yet")
        return None
    job = _with_random_encoder(bench, job)
    compute = replace(bench.ground.site.compute, track=())
    folder = bench.store.prepare(job, bench.ground.data(job), compute)
    try:
        seconds, reason = _whole_seconds(folder, _started(bench, job, folder))
        if reason:
            say(f"not timed: {what}: {reason}")
            return None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    gpus = bench.ground.site.compute.gpus
    say(f"timed: {what}: {seconds / 3600:.2f} h on {gpus} of {bench.device}, evaluation left out")
    arch = job_arch(job)
    return Sample(
        "calibrated",
        job.recipe.name,
        arch,
        job.data_fingerprint,
        bench.device,
        seconds * gpus,
        nominal_flops(job.recipe, arch),
    )


def _with_random_encoder(bench: Bench, job: Job) -> Job:
    """Return the job with a random encoder of its size, made in the scratch store."""
    if not isinstance(job.source, Job):
        return job
    cls = load("random_init")
    fields = {"arch": job_arch(job)}
    size = getattr(job.source.recipe, "image_size", None)
    recipe = cls(**fields, **({"image_size": size} if size else {}))
    maker = Job(job.row, recipe, 0, "")
    if bench.store.result(maker) is None:
        folder = bench.store.prepare(maker, None)
        _started(bench, maker, folder).wait()
    return Job(job.row, job.recipe, job.seed, job.data_fingerprint, maker)


def _started(bench: Bench, job: Job, folder: Path) -> "subprocess.Popen[bytes]":
    """Start the job's process as a run does."""
    threads = max(1, len(os.sched_getaffinity(0)) // slots(bench.ground.site.compute.gpus))
    environment = os.environ | {PARENT: str(os.getpid())}
    environment.setdefault("OMP_NUM_THREADS", str(threads))
    python = bench.ground.site.interpreter(job.recipe.resources.framework)
    with (folder / LOG).open("ab") as log:
        return subprocess.Popen(
            [python or sys.executable, "-m", "mae_bench.suite.execute", folder],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _whole_seconds(folder: Path, process: "subprocess.Popen[bytes]") -> tuple[float, str]:
    """Return the seconds that all steps would take, or why that cannot be told; end the process."""
    deadline = time.monotonic() + AT_MOST_S
    try:
        while process.poll() is None and time.monotonic() < deadline and not _enough(folder):
            time.sleep(POLL_S)
    finally:
        _end(process)
    lines = _lines(folder)[WARM_LINES:] or _lines(folder)
    steps = lines[-1][0] - lines[0][0] if lines else 0
    if steps > 0:
        return (lines[-1][2] - lines[0][2]) / steps * lines[-1][1], ""
    try:
        return 0.0, str(json.loads((folder / FAILURE).read_text())["message"])
    except (OSError, ValueError, KeyError):
        ended = "it ended" if (folder / RESULT).exists() else f"within {AT_MOST_S:.0f} s it came"
        return 0.0, f"{ended} without two lines of progress to compare"


def _enough(folder: Path) -> bool:
    """Return whether enough progress was logged to tell its pace."""
    lines = _lines(folder)[WARM_LINES:]
    return len(lines) >= ENOUGH_LINES and lines[-1][2] - lines[0][2] >= ENOUGH_S


def _lines(folder: Path) -> list[tuple[int, int, float]]:
    """Return step, steps and time of every whole line of progress of training."""
    try:
        texts = (folder / METRICS).read_text().split("\n")[:-1]
    except OSError:
        return []
    lines = [json.loads(text) for text in texts]
    steps = [(int(one["step"]), int(one["steps"]), float(one["time"])) for one in lines]
    return [one for before, one in zip([(0, 0, 0.0), *steps], steps) if one[0] > before[0]]  # noqa: B905


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask the process to stop, and end it if it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
