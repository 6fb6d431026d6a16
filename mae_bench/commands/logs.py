"""What a job printed: its last lines, and what comes until it ends."""

import sys
import time
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from mae_bench.cli import FAILED, OK
from mae_bench.commands.options import Place, parse
from mae_bench.suite.attempts import holder
from mae_bench.suite.finding import find_job
from mae_bench.suite.logs import last_lines, marked, new_lines
from mae_bench.suite.store import LOG, JobState, state_in
from mae_bench.suite.stored import StoredJob
from mae_bench.suite.wording import one_line

POLL_S = 0.3
LINES = 40


@dataclass(frozen=True)
class LogsOptions:
    """Which job's log to print, and how much of it."""

    job: tyro.conf.Positional[tuple[str, ...]]
    """A job's folder; its key in the store or the beginning of it; or words of its row, recipe and
    state that only one job has, such as: MAE coco_vitdet."""
    lines: Annotated[int, tyro.conf.arg(aliases=["-n"])] = LINES
    """Lines of the log's end."""
    follow: Annotated[bool, tyro.conf.arg(aliases=["-f"]), tyro.conf.FlagCreatePairsOff] = False
    """Go on with what comes, over all attempts, until the job ends."""
    place: Place = field(default_factory=Place)


def logs(words: list[str]) -> int:
    """Print the end of a job's log; return 1 if the job was followed and has no result."""
    options = parse(LogsOptions, "logs", words, "Print what a job printed.")
    if not options.job:
        raise ValueError("logs needs a job: mae-bench logs FOLDER, KEY or words such as failed")
    if options.lines < 0:
        raise ValueError(f"--lines must be >= 0, got {options.lines}")
    job = find_job(options.job, options.place.read().store)
    log = job.folder / LOG
    try:
        found, offset = last_lines(log, options.lines)
    except FileNotFoundError:
        found, offset = [], 0
        _say(f"{job.name} of {one_line(job.row)} printed nothing yet: there is no {log}")
    print("\n".join(marked(found)), flush=True, end="\n" if found else "")
    if not options.follow:
        return OK
    try:
        state = follow(job, offset)
    except KeyboardInterrupt:
        return OK
    _say(f"{job.name} of {one_line(job.row)}, seed {job.seed}: {state.name} {state.reason}".strip())
    return OK if state.name == "done" else FAILED


def follow(job: StoredJob, offset: int) -> JobState:
    """Print what comes behind the offset until the job has ended; return its state then."""
    told = False
    while True:
        state, runs = state_in(job.folder, job.key, job.recipe.metrics), holder(job.folder)
        lines, offset = new_lines(job.folder / LOG, offset)
        if lines:
            print("\n".join(marked(lines)), flush=True)
            continue
        if runs is None and state.name in ("done", "failed", "cancelled"):
            return state
        if runs is None and not told:
            _say("nothing runs the job now; waiting for its next attempt, Ctrl-C ends this")
        told = runs is None
        time.sleep(POLL_S)


def _say(text: str) -> None:
    """Print a remark beside the log."""
    print(f"mae-bench: {text}", file=sys.stderr, flush=True)
