"""Frees what a store holds in vain; without --yes it only says what that is."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from mae_bench.cli import FAILED, OK
from mae_bench.commands.options import Place, parse
from mae_bench.core.job import Checkpoint
from mae_bench.core.site import Site
from mae_bench.suite.cost.disk import size
from mae_bench.suite.launch import queue_of
from mae_bench.suite.launch.queue import Unanswered
from mae_bench.suite.plan import ABSENT, Plan
from mae_bench.suite.preflight import survey
from mae_bench.suite.presets import named_suite
from mae_bench.suite.store import Store
from mae_bench.suite.stored import check_store, stored_jobs
from mae_bench.suite.tier import FULL
from mae_bench.suite.waste import Needs, Waste, free, orphaned, waste
from mae_bench.suite.wording import one_line

Flag = tyro.conf.FlagCreatePairsOff


@dataclass(frozen=True)
class GcOptions:
    """What may go."""

    suite: tuple[str, ...] = ()
    """Presets or TOML files whose jobs are still wanted."""
    tier: str = FULL
    """full, or lite: the published short schedules; or a tier of the suites' own."""
    orphans: Annotated[bool, Flag] = False
    """Also free jobs that no suite given asks for; of finished ones the results stay."""
    yes: Annotated[bool, Flag] = False
    """Remove it; otherwise it is only listed."""
    place: Place = field(default_factory=Place)


def gc(words: list[str]) -> int:
    """List what could be freed, and free it with --yes; return the exit code."""
    about = "Free what a store holds in vain: never a result, nothing of jobs at work."
    options = parse(GcOptions, "gc", words, about)
    if options.orphans and not options.suite:
        raise ValueError("--orphans needs --suite S ...: jobs that none of them asks for may go")
    site = options.place.read()
    check_store(site.store)
    jobs, strays = stored_jobs(site.store)
    plans = [
        survey(named_suite(name, site.store, options.tier), site).plan for name in options.suite
    ]
    needs = _needs(site, plans)
    found = list(waste(site.store, jobs, needs))
    if options.orphans:
        for plan in plans:
            _check_known(plan)
        planned = {job.key for plan in plans for job in plan.jobs}
        known = {one.path for one in found}
        more = [one for one in orphaned(jobs, planned, needs) if one.path not in known]
        whole = {one.path for one in more if one.path.is_dir()}
        found = [one for one in found if not whole & set(one.path.parents)] + more
    print("\n".join([*_lines(found), *(f"left alone: {stray}" for stray in strays)]))
    total = size(sum(one.num_bytes for one in found))
    if not options.yes and not found:
        print("nothing could be freed")
        return OK
    if not options.yes:
        print(f"{total} could be freed; nothing was removed: pass --yes to do so")
        return OK
    return _freed(found, site.store)


def _check_known(plan: Plan) -> None:
    """Raise ValueError if a data set is absent, without which the suite's keys are not known."""
    for job in plan.jobs:
        name = job.recipe.dataset
        if name and job.data_fingerprint == ABSENT:
            raise ValueError(
                f"which jobs {plan.name} asks for is not known without its data set {name}, so "
                f"none is an orphan; pass --{name.replace('_', '-')} DIR"
            )


def _freed(found: Sequence[Waste], root: Path) -> int:
    """Free it all and say how much that was; return 1 if something had to stay."""
    gone = [one for one in found if free(one, root)]
    print(f"{size(sum(one.num_bytes for one in gone))} freed")
    if len(gone) < len(found):
        print(f"{len(found) - len(gone)} of {len(found)} are in use by now and stay")
    return OK if len(gone) == len(found) else FAILED


def _needs(site: Site, plans: Sequence[Plan]) -> Needs:
    """Return what must stay; ValueError if a scheduler does not say what is in its queue."""
    try:
        queued = queue_of(site, Store(site.store))
    except Unanswered as silence:
        raise ValueError(
            f"the scheduler does not say which jobs are in its queue ({silence}), so nothing is "
            "freed; try again when it answers"
        ) from silence
    jobs = [job for plan in plans for job in plan.jobs]
    files = {job.source.path.resolve() for job in jobs if isinstance(job.source, Checkpoint)}
    return Needs(frozenset(queued), frozenset(files))


def _lines(found: Sequence[Waste]) -> list[str]:
    """Return a line for each kind and job, the largest first."""
    groups: dict[tuple[str, str], list[Waste]] = defaultdict(list)
    for one in found:
        job = one.job
        about = f"{one.path}" if job is None else f"{job.key}  {job.name} · {one_line(job.row)}"
        groups[one.kind, about].append(one)
    sums = {key: sum(one.num_bytes for one in group) for key, group in groups.items()}
    return [
        f"{size(sums[key]):>9}  {key[0]:36} {key[1]}"
        + (f" ({len(groups[key])} files)" if len(groups[key]) > 1 else "")
        for key in sorted(groups, key=lambda key: (-sums[key], key))
    ]
