"""Why one job is cached, would run, waits, is blocked or failed."""

from dataclasses import dataclass, field

import tyro

from mae_bench.cli import OK
from mae_bench.commands.options import Place, parse
from mae_bench.commands.status import Look, standings_of
from mae_bench.core.site import Site
from mae_bench.suite.explain import Case, explained
from mae_bench.suite.finding import Candidate, candidate_of, find_job, in_store, the_one
from mae_bench.suite.preflight import Ground, survey
from mae_bench.suite.presets import named_suite
from mae_bench.suite.stored import stored_jobs
from mae_bench.suite.tier import FULL


@dataclass(frozen=True)
class ExplainOptions:
    """Which job, and whether a suite asks for it."""

    job: tyro.conf.Positional[tuple[str, ...]]
    """A job's folder; its key or the beginning of it; or words of its row, recipe and state that
    only one job has, such as: MAE coco_vitdet."""
    suite: str = ""
    """A preset (demo, demo-ssl, smoke, full) or a TOML file: its jobs are looked at too."""
    tier: str = FULL
    """full, or lite: the published short schedules; or a tier of the suite's own."""
    place: Place = field(default_factory=Place)


def explain(words: list[str]) -> int:
    """Print why a job is as it is; return the exit code."""
    about = "Say why a job is cached, would run again, waits, is blocked or failed."
    options = parse(ExplainOptions, "explain", words, about)
    if not options.job:
        raise ValueError("explain needs a job: mae-bench explain KEY, or words such as MAE failed")
    site = options.place.read()
    suite = named_suite(options.suite, site.store, options.tier) if options.suite else None
    case = _case(options.job, None if suite is None else survey(suite, site), site)
    print("\n".join(explained(case)))
    return OK


def _case(words: tuple[str, ...], ground: Ground | None, site: Site) -> Case:
    """Return the job that is meant: of the suite if it plans it, else of the store."""
    plan = None if ground is None else ground.plan
    stored = {job.key: job for job in stored_jobs(site.store)[0]}
    standings = standings_of(Look(site, None, {}))[0]
    path = len(words) == 1 and "/" in words[0]
    if ground is not None and not path:
        planned = standings_of(Look(site, ground.plan, ground.blocked))[0]
        standings = {**standings, **planned}
        names = [candidate_of(one) for one in planned.values()]
        known = list(map(candidate_of, standings.values()))
        key = _chosen(words, names, known, ground.plan.name)
    else:
        key = in_store(find_job(words, site.store), site.store).key
    identities = {job.key: job.identity for job in plan.jobs} if plan else {}
    identity = identities.get(key) or stored[key].content["identity"]
    return Case(standings[key], identity, standings, stored, plan, site)


def _chosen(
    words: tuple[str, ...], planned: list[Candidate], known: list[Candidate], suite: str
) -> str:
    """Return the key of the job that is meant: words are of planned jobs, a key may be of any."""
    begun = [job.key for job in known if len(words) == 1 and job.key.startswith(words[0])]
    return begun[0] if len(begun) == 1 else the_one(words, planned, f"the suite {suite}")
