"""Why a job is cached, would run, is blocked or failed, in sentences made from files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mae_bench import __version__
from mae_bench.core.job import Result
from mae_bench.core.registry import load
from mae_bench.core.site import Site
from mae_bench.suite.attempts import Attempt, attempts
from mae_bench.suite.differences import Difference, Identity, differences, nearest
from mae_bench.suite.logs import last_lines
from mae_bench.suite.overview import place
from mae_bench.suite.plan import Plan
from mae_bench.suite.status import Standing
from mae_bench.suite.store import LOG, RESULT, believed_result
from mae_bench.suite.stored import StoredJob
from mae_bench.suite.toolboxes import NEEDS, versions
from mae_bench.suite.wording import duration, one_line

MOST = 8
"""Differences that are named."""
LINES = 10
"""Of the log of a job that failed."""


@dataclass(frozen=True)
class Case:
    """A job to explain, and all that may explain it."""

    standing: Standing
    identity: Identity
    standings: Mapping[str, Standing]
    stored: Mapping[str, StoredJob]
    plan: Plan | None
    """None where no suite was given."""
    site: Site

    def identity_of(self, key: str) -> Identity | None:
        """Return what decides the numbers of a planned or stored job, None if it is unknown."""
        for job in self.plan.jobs if self.plan else ():
            if job.key == key:
                return job.identity
        known = self.stored.get(key)
        return None if known is None else known.content["identity"]


def explained(case: Case) -> Iterator[str]:
    """Yield all that is to say of the job."""
    one = case.standing
    yield f"{one.entry}: {one.state}  ({one.entry.key})"
    if one.state == "done":
        yield from _cached(case)
    elif one.state in ("blocked", "waiting"):
        yield from _held_up(case)
    elif one.reason:
        yield f"  why: {one_line(one.reason)}"
    where = place(one.where)
    if where:
        yield f"  where: {where}"
    if one.state != "done":
        yield from _not_cached(case)
    yield from _asked_for(case)
    if one.state == "failed":
        yield from _end_of_log(one.folder)
    yield from _tries(attempts(one.folder))
    yield from _next_step(one)


def _cached(case: Case) -> Iterator[str]:
    """Yield why the job does not run: its result, and what would make it another job."""
    one = case.standing
    result = believed_result(one.folder / RESULT, one.entry.key, one.entry.metrics)
    made = result.provenance
    finished = str(made.get("finished", "an unknown time")).replace("T", " ")
    device = f" on {made['device']}" if made.get("device") else ""
    yield f"  why: it has its result, of {finished}, {duration(result.seconds)}{device}"
    yield (
        "  its key is the hash of recipe, version, fields, seed, data and encoder: as long as none "
        "of these changes, it does not run again"
    )
    yield from _versions(one.entry.recipe, result, case.site)


def _versions(recipe: str, result: Result, site: Site) -> Iterator[str]:
    """Yield whether what is installed differs from what the result was made with."""
    framework = load(recipe).resources.framework
    found = versions(framework, site.interpreter(framework)) or {}
    here = {need.distribution: found.get(need.module) for need in NEEDS[framework]}
    made = dict(result.provenance.get("versions", {}))
    here["mae-bench"] = __version__
    changed = [
        f"{package} {made[package]} then, {version or 'not installed'} now"
        for package, version in sorted(here.items())
        if package in made and made[package] != version
    ]
    if changed:
        yield f"  other versions: {'; '.join(changed)} (they do not change the key)"
    elif made:
        named = ", ".join(
            f"{package} {made[package]}" for package in sorted(made) if package in here
        )
        yield f"  versions: {named or 'none noted'}, the same as here"


def _held_up(case: Case) -> Iterator[str]:
    """Yield what the job waits for or is blocked by, down to the cause."""
    one = case.standing
    above = _above(case)
    if not above:
        yield f"  why: {one_line(one.reason)}"
    for depth, source in enumerate(above):
        why = f": {one_line(source.reason)}" if source.reason and source is above[-1] else ""
        yield f"  {'  ' * depth}needs {source.entry} ({source.entry.key[:8]}), {source.state}{why}"
    if above and above[-1].state == "failed":
        yield from _end_of_log(above[-1].folder)


def _above(case: Case) -> list[Standing]:
    """Return the jobs that hold this one up, the cause last."""
    found: list[Standing] = []
    source = case.standings.get(case.standing.entry.source or "")
    while source is not None and source.state != "done":
        found.append(source)
        source = case.standings.get(source.entry.source or "")
    return found


def _not_cached(case: Case) -> Iterator[str]:
    """Yield what tells the job from the nearest one that has a result."""
    entry = case.standing.entry
    others = [job for key, job in case.stored.items() if key != entry.key]
    near = nearest(case.identity, entry.row, others, case.identity_of)
    if near is None:
        yield f"  no result to take: no other job of {entry.recipe} is finished in this store"
        return
    job, found = near
    there = f"the result of {job.key[:8]}"
    row = "" if job.row == entry.row else f" (row {one_line(job.row)})"
    yield f"  nearest result: {job.key}{row}; of another key, since"
    yield from _listed(found, there)


def _listed(found: Sequence[Difference], there: str) -> Iterator[str]:
    """Yield the first differences, a line each."""
    yield from (f"    {one.text(there)}" for one in found[:MOST])
    if len(found) > MOST:
        yield f"    and {len(found) - MOST} more"


def _asked_for(case: Case) -> Iterator[str]:
    """Yield whether the suite plans the job, and else what it plans instead."""
    if case.plan is None:
        now = load(case.standing.entry.recipe).version
        if now != case.identity["version"]:
            version = case.identity["version"]
            yield f"  the recipe is at version {now} now, this is {version}: no suite asks for it"
        return
    entry = case.standing.entry
    if any(job.key == entry.key for job in case.plan.jobs):
        yield f"  the suite {case.plan.name} asks for it"
        return
    planned = [
        (job.row != entry.row, differences(case.identity, job.identity, case.identity_of), job.key)
        for job in case.plan.jobs
        if job.recipe.name == entry.recipe
    ]
    if not planned:
        yield f"  the suite {case.plan.name} does not ask for it: it has no {entry.recipe}"
        return
    _, found, key = min(planned, key=lambda one: (one[0], len(one[1]), one[2]))
    yield f"  the suite {case.plan.name} does not ask for it, but for {key}, since"
    yield from _listed(found, "this job")


def _end_of_log(folder: Path) -> Iterator[str]:
    """Yield the last lines of a job's log."""
    try:
        lines, _ = last_lines(folder / LOG, LINES)
    except OSError:
        return
    yield f"  the end of {folder / LOG}:"
    yield from (f"    {line}" for line in lines)


def _tries(tried: Sequence[Attempt]) -> Iterator[str]:
    """Yield a line for each attempt."""
    for one in tried:
        saved, lost = one.start.get("step"), int(one.start.get("lost", 0))
        parts = [str(one.owner or "nobody is noted")]
        parts += [f"began with {saved} steps saved"] if saved else []
        parts += [f"{lost} steps lost before it"] if lost else []
        yield f"  attempt {one.number}: {_ending(one)}; {', '.join(parts)}"


def _ending(one: Attempt) -> str:
    """Return how an attempt ended."""
    if one.ended is not None:
        return f"{one.ended.get('outcome', 'ended')} at {one.ended.get('time', 'an unknown time')}"
    return "runs" if one.alive else "killed, it left no word"


def _next_step(one: Standing) -> Iterator[str]:
    """Yield what to do."""
    steps: dict[str, str] = {
        "failed": "mend the cause, then start it again: the same run, or mae-bench retry {key}",
        "cancelled": "a later run starts it again, and continues where it was",
        "interrupted": "a later run continues it",
        "new": "mae-bench run starts it",
        "running": "follow it: mae-bench logs {key} -f",
        "retrying": "follow it: mae-bench logs {key} -f",
    }
    if one.state == "cancelled" and not one.tried:
        yield "  next: a later run starts it"
    elif one.state in steps:
        yield "  next: " + steps[one.state].format(key=one.entry.key[:8])
