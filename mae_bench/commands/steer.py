"""Ends jobs, and lets them be started again."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import tyro

from mae_bench.cli import FAILED, OK
from mae_bench.commands.options import Place, parse
from mae_bench.commands.status import Look, standings_of
from mae_bench.core.site import Site
from mae_bench.suite import launch
from mae_bench.suite.finding import candidate_of, find_job, in_store, several
from mae_bench.suite.launch.queue import Unanswered
from mae_bench.suite.narrow import Filters, part_of
from mae_bench.suite.preflight import survey
from mae_bench.suite.presets import named_suite
from mae_bench.suite.status import OVER, Standing, chain
from mae_bench.suite.steering import UNTOLD, end_process, mark_cancelled, retried
from mae_bench.suite.store import JOB, Store
from mae_bench.suite.tier import FULL


@dataclass(frozen=True)
class SteerOptions:
    """Which jobs are meant."""

    job: tyro.conf.Positional[tuple[str, ...]] = ()
    """Keys, which may be cut to four characters; or a job's folder; or words of its row, recipe and
    state that only one job has."""
    suite: str = ""
    """All jobs of this preset or TOML file instead, or those that the filters choose."""
    tier: str = FULL
    """full, or lite: the published short schedules; or a tier of the suite's own."""
    filters: Filters = field(default_factory=Filters)
    place: Place = field(default_factory=Place)


def cancel(words: list[str]) -> int:
    """Let jobs save themselves and end; return 1 if some could not be told."""
    about = "Let jobs save themselves and end. They rest until a later run asks for them."
    options = parse(SteerOptions, "cancel", words, about)
    site = options.place.read()
    chosen = _spared(chosen_jobs("cancel", options, site), options, site)
    ending = {key: one for key, one in chosen.items() if one.state not in ("done", "failed")}
    for key in chosen.keys() - ending.keys():
        print(f"{chosen[key].entry} ({key[:8]}): {chosen[key].state}, there is nothing to end")
    for one in ending.values():
        mark_cancelled(one)
    queued, problem = _taken_out(site, list(ending))
    answers = {key: _ended(one, queued.get(key)) for key, one in ending.items()}
    for key, answer in answers.items():
        print(f"{ending[key].entry} ({key[:8]}): cancelled; {answer}")
    if problem:
        print(problem)
    return FAILED if problem or any(a.startswith(UNTOLD) for a in answers.values()) else OK


def retry(words: list[str]) -> int:
    """Forget why jobs failed or were cancelled; return the exit code."""
    about = "Forget why jobs failed or were cancelled, so that a later run starts them again."
    options = parse(SteerOptions, "retry", words, about)
    chosen = chosen_jobs("retry", options, options.place.read())
    if options.suite:  # whoever names a suite means those that there is something to do for
        chosen = {k: one for k, one in chosen.items() if one.state in ("failed", "cancelled")}
    for key, one in chosen.items():
        print(f"{one.entry} ({key[:8]}): {retried(one)}")
    count = sum(one.state in ("failed", "cancelled") for one in chosen.values())
    jobs = "1 job" if count == 1 else f"{count} jobs"
    print(f"{jobs} forgiven; the same run starts again" if count else "nothing to forget")
    return OK


def chosen_jobs(command: str, options: SteerOptions, site: Site) -> Mapping[str, Standing]:
    """Return how the jobs that are meant stand, by key; ValueError if none is named."""
    if bool(options.job) == bool(options.suite):
        raise ValueError(f"{command} needs either jobs or --suite: mae-bench {command} KEY ...")
    if options.suite:
        suite = named_suite(options.suite, site.store, options.tier)
        part = part_of(survey(suite, site), options.filters)
        return standings_of(Look(site, part.plan, part.blocked))[0]
    if (options.filters, options.tier) != (Filters(), FULL):
        raise ValueError("--only, --task, --seed and --tier choose within a suite: pass --suite")
    found, notes = standings_of(Look(site, None, {}))
    for note in notes:
        if any(f"{site.store / word / JOB} " in note for word in options.job):
            raise ValueError(note)
    if len(options.job) == 1 and "/" in options.job[0]:
        keys = [in_store(find_job(options.job, site.store), site.store).key]
    else:
        known = list(map(candidate_of, found.values()))
        keys = several(options.job, known, f"the store {site.store}")
    return {key: found[key] for key in keys}


def _spared(
    chosen: Mapping[str, Standing], options: SteerOptions, site: Site
) -> Mapping[str, Standing]:
    """Return the chosen part of a suite without the jobs that the rest of it needs; say which.

    A job that is named itself is always meant.
    """
    if options.filters == Filters():
        return chosen
    ground = survey(named_suite(options.suite, site.store, options.tier), site)
    others = standings_of(Look(site, ground.plan, ground.blocked))[0]
    entries = {key: one.entry for key, one in others.items()}
    needed = {
        above.key
        for key, one in others.items()
        if key not in chosen and one.state not in OVER
        for above in chain(one.entry, entries)
    }
    kept = [one for key, one in chosen.items() if key in needed and one.state not in OVER]
    if kept:
        named = ", ".join(f"{one.entry} ({one.entry.key[:8]})" for one in kept)
        print(f"left alone, since jobs that go on need it: {named}")
    return {key: one for key, one in chosen.items() if one not in kept}


def _taken_out(site: Site, keys: list[str]) -> tuple[dict[str, str], str]:
    """Return the scheduler's ids of the jobs that it was told to end, and what went wrong.

    It is not asked where there is nothing to end.
    """
    if not keys:
        return {}, ""
    try:
        return launch.cancel(site, Store(site.store), keys), ""
    except Unanswered as silence:
        return {}, f"the scheduler does not answer ({silence}): cancel again when it does"


def _ended(one: Standing, queued: str | None) -> str:
    """Return in words how a job was told to end."""
    return f"the scheduler was told, job {queued}" if queued else end_process(one.folder)
