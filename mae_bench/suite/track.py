"""Tells one tracker how a job goes, by the job's folder: python -m mae_bench.suite.track DIR NAME.

It runs beside the job, in a process that may fail or hang as it likes, and ends once its standard
input has something to read or is closed: then the attempt is over, or was long ago.
"""

import json
import logging
import math
import os
import select
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mae_bench.core.files import METRICS, write_json
from mae_bench.core.parent import end_with_parent
from mae_bench.core.tracker import Status, TrackedRun, Tracker, opener
from mae_bench.suite.encoders import spec_of
from mae_bench.suite.execute import recipe_of
from mae_bench.suite.store import FAILURE, JOB, RESULT, read_result
from mae_bench.suite.tracking import TOLD
from mae_bench.suite.wording import one_line

log = logging.getLogger(__name__)

POLL_S = 2.0
AGAIN_S = 60.0
"""Longest pause before a tracker that failed is told again."""
MOST_BYTES = 1 << 20
"""Of what a tracker prints; then its file begins anew."""
NICE = 10


@dataclass
class Told:
    """How far a tracker was told of a job; kept in its folder, so that nothing is told twice."""

    offset: int = 0
    """Bytes of metrics.jsonl."""
    step: int = 0
    names: list[str] = field(default_factory=list)
    """What was told of that step."""
    status: str = ""
    """How the last attempt ended, once that was told; empty before."""

    def news(self, step: int, values: dict[str, float]) -> dict[str, float]:
        """Return those of a step's values that the tracker does not have.

        An attempt that goes on from a checkpoint logs steps again, which were told before.
        """
        if step == self.step:
            return {name: value for name, value in values.items() if name not in self.names}
        return values if step > self.step else {}

    def take(self, step: int, values: dict[str, float]) -> None:
        """Note that values of a step were told."""
        self.names = [*(self.names if step == self.step else ()), *values]
        self.step = step


def told_file(folder: Path, name: str) -> Path:
    """Return the file that says how far a tracker was told of the job in a folder."""
    return folder / TOLD / f"{name}.json"


def read_told(folder: Path, name: str) -> Told:
    """Return how far a tracker was told; of nothing if that cannot be read."""
    try:
        return Told(**json.loads(told_file(folder, name).read_text()))
    except (OSError, ValueError, TypeError):
        return Told()


def is_told(folder: Path, name: str) -> bool:
    """Return whether a tracker knows all of a job that nobody is at work on."""
    told, path = read_told(folder, name), folder / METRICS
    logged = path.stat().st_size if path.exists() else 0
    job = json.loads((folder / JOB).read_text())
    return (told.status, told.offset) == (ended(folder, job)[0], logged)


def follow(folder: Path, name: str) -> None:
    """Tell the tracker all that is logged until the attempt is over, and then how it ended.

    What fails is tried again, with pauses up to AGAIN_S; at the end its exception goes on.
    """
    told, tracker = read_told(folder, name), None
    job = json.loads((folder / JOB).read_text())
    run = run_of(folder, job, name, told)
    told.status, pause, over = "", 0.0, False
    while not over:
        over = bool(select.select([sys.stdin], [], [], pause)[0])
        try:
            tracker = tracker or opener(name)(run)
            if tell(tracker, told, folder):
                write_json(told_file(folder, name), asdict(told))
            pause = POLL_S
        except Exception as error:
            if over:
                raise
            pause = min(max(POLL_S, 2 * pause), AGAIN_S)
            log.warning("%s; told again in %.0f s", _in_a_line(error), pause)
    assert tracker is not None
    status, metrics = ended(folder, job)
    tracker.finish(told.step, metrics, status)
    told.status = status
    write_json(told_file(folder, name), asdict(told))


def tell(tracker: Tracker, told: Told, folder: Path) -> bool:
    """Tell the tracker what was logged since and return whether there was something.

    If it raises, `told` holds what came before that.
    """
    before = told.offset
    with suppress(FileNotFoundError), (folder / METRICS).open("rb") as stream:
        stream.seek(told.offset)
        for line in stream:
            if not line.endswith(b"\n"):
                break
            step, time, numbers = read_line(line)
            values = told.news(step, numbers)
            if values:
                tracker.log(step, values, time)
                told.take(step, values)
            told.offset += len(line)
    return told.offset > before


def read_line(line: bytes) -> tuple[int, float, dict[str, float]]:
    """Return step, time and numbers of a line of metrics.jsonl; none of a line that is no such."""
    try:
        values = json.loads(line)
        step, time = int(values["step"]), float(values["time"])
    except (ValueError, KeyError, TypeError):
        return 0, 0.0, {}
    numbers = {
        name: float(value)
        for name, value in values.items()
        if name not in ("step", "steps", "time")
        and isinstance(value, int | float)
        and math.isfinite(value)
    }
    return step, time, numbers


def run_of(folder: Path, job: dict[str, Any], name: str, told: Told) -> TrackedRun:
    """Return the job as the tracker should know it."""
    recipe, row, seed = job["identity"]["recipe"], one_line(job["row"]), job["seed"]
    spec = spec_of(Path(job["encoder"])) if job["encoder"] else {"origin": recipe}
    config: dict[str, Any] = {name: spec[name] for name in spec.keys() & {"arch", "origin"}}
    config |= job["fields"] | {"recipe": recipe, "row": row, "seed": seed, "key": job["key"]}
    config |= {name: job["identity"][name] or "" for name in ("version", "data", "source")}
    label = f"{row} · {recipe} · seed {seed}"
    return TrackedRun(
        job["key"], label, row, recipe, seed, config, folder, folder / TOLD / name, told != Told()
    )


def ended(folder: Path, job: dict[str, Any]) -> tuple[Status, dict[str, float]]:
    """Return how the job's last attempt ended, and its metrics if it is done."""
    result = read_result(folder / RESULT, job["key"], recipe_of(job).metrics)
    if result is not None:
        return "done", {f"result/{name}": value for name, value in result.metrics.items()}
    return ("failed" if (folder / FAILURE).exists() else "stopped"), {}


def shorten(descriptor: int) -> None:
    """Empty a file that is appended to if it has grown over MOST_BYTES."""
    if os.fstat(descriptor).st_size > MOST_BYTES:
        os.ftruncate(descriptor, 0)


def keep_short(descriptor: int) -> None:
    """Shorten a file again and again; never returns."""
    while True:
        shorten(descriptor)
        time.sleep(POLL_S)


def main() -> None:
    """Follow the folder's job for the tracker that is named; exit with 0 once all is told."""
    end_with_parent()
    os.nice(NICE)
    for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # a scheduler tells every process to stop
    output = sys.stdout.fileno()
    threading.Thread(target=keep_short, args=(output,), daemon=True).start()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stdout
    )
    try:
        follow(Path(sys.argv[1]).resolve(), sys.argv[2])
    finally:
        sys.stdout.flush()
        shorten(output)


def _in_a_line(error: BaseException) -> str:
    """Return the exception's kind and words."""
    return one_line("".join(traceback.format_exception_only(error)))


if __name__ == "__main__":
    main()
