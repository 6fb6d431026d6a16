"""Tells trackers of jobs after the fact: what they were not told while the jobs ran."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from mae_bench.cli import FAILED, OK
from mae_bench.commands.options import parse
from mae_bench.commands.steer import SteerOptions, chosen_jobs
from mae_bench.suite.status import Standing
from mae_bench.suite.store import JOB
from mae_bench.suite.stored import check_store
from mae_bench.suite.track import is_told
from mae_bench.suite.tracking import output_file, problems, send


@dataclass(frozen=True, kw_only=True)
class TrackOptions:
    """Which trackers are told of which jobs."""

    to: tuple[str, ...]
    """Trackers, such as wandb; `mae-bench doctor` lists those that are there."""
    jobs: SteerOptions = field(default_factory=SteerOptions)


def track(words: list[str]) -> int:
    """Tell trackers what they do not know of jobs; return 1 if one did not take it."""
    about = "Tell trackers of jobs that are not at work: all that they were not told before."
    options = parse(TrackOptions, "track", words, about)
    if not options.to:
        raise ValueError("--to needs a tracker: mae-bench track JOB --to wandb")
    found = problems(options.to, Path(sys.executable))
    if found:
        raise ValueError("\n".join(found))
    site = options.jobs.place.read()
    check_store(site.store)
    chosen = chosen_jobs("track", options.jobs, site)
    answers = []
    for one in chosen.values():
        for name in dict.fromkeys(options.to):
            answers.append(_answer(one, name))
            print(f"{one.entry} ({one.entry.key[:8]}): {answers[-1]}", flush=True)
    return FAILED if any(answer.startswith("not told") for answer in answers) else OK


def _answer(one: Standing, name: str) -> str:
    """Tell a tracker of one job and return in words what came of it."""
    if not (one.folder / JOB).exists():
        return f"{one.state}, there is nothing to tell"
    if one.state == "running":
        return "running, there is more to tell when it has ended"
    if is_told(one.folder, name):
        return f"{name} knows all of it"
    if send(one.folder, name):
        return f"{name} was told"
    return f"not told: {name} failed, see {output_file(one.folder, name)}"
