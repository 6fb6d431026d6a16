"""Says which results of a store are not what jobs left there."""

import json
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, get_args

import tyro

from mae_bench.cli import FAILED, OK
from mae_bench.commands.options import Place, parse
from mae_bench.suite.preflight import survey
from mae_bench.suite.presets import named_suite
from mae_bench.suite.store import RESULT, believed_result
from mae_bench.suite.stored import check_store, read_job
from mae_bench.suite.tier import FULL
from mae_bench.suite.verify import AGAIN, Kind, Problem, folders_with_results, problems
from mae_bench.suite.wording import one_line

SCHEMA = 1


@dataclass(frozen=True)
class VerifyOptions:
    """Which results to look at, and what is asked for."""

    suite: tuple[str, ...] = ()
    """Presets or TOML files: results that none of them asks for are named as orphaned."""
    tier: str = FULL
    """full, or lite: the published short schedules; or a tier of the suites' own."""
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print it as JSON instead."""
    place: Place = field(default_factory=Place)


def verify(words: list[str]) -> int:
    """Print what is not sound in a store; return 1 if a result is edited, broken or incomplete."""
    about = "Check every result of a store: seal, identity, provenance, encoder, predictions."
    options = parse(VerifyOptions, "verify", words, about)
    site = options.place.read()
    check_store(site.store)
    planned: set[str] | None = None
    if options.suite:
        suites = [named_suite(name, site.store, options.tier) for name in options.suite]
        planned = {job.key for suite in suites for job in survey(suite, site).plan.jobs}
    folders = folders_with_results(site.store)
    found = {folder.name: list(_problems(folder, planned)) for folder in folders}
    if options.as_json:
        print(json.dumps(_told(found, str(site.store)), indent=2))
    else:
        print("\n".join(_lines(found)))
    kinds = {one.kind for those in found.values() for one in those}
    return FAILED if kinds & {"wrong", "incomplete"} else OK


def _problems(folder: Path, planned: Collection[str] | None) -> Iterator[Problem]:
    """Yield what is not sound; a result that is believed is also computed again where it can be."""
    yield from (found := list(problems(folder, planned)))
    if not any(one.kind == "wrong" for one in found):
        yield from _recomputed(folder)


def _recomputed(folder: Path) -> Iterator[Problem]:
    """Yield numbers that do not come out again of what the job kept of each test image."""
    from mae_bench.report.per_image import refusal

    job = read_job(folder)
    result = believed_result(folder / RESULT, job.key, job.recipe.metrics)
    for metric in job.recipe.metrics:
        if metric.name in result.metrics:
            value = result.metrics[metric.name]
            found = refusal(folder.parent, job.key, metric.per_image, metric.name, value)
            if found is not None:
                yield Problem(folder.name, "wrong", found.reason, AGAIN)


def _lines(found: dict[str, list[Problem]]) -> Iterator[str]:
    """Yield a line for each problem, and the sum of them."""
    for those in found.values():
        for one in those:
            yield f"{one.kind:10}  {one.folder}  {one_line(one.what)}; {one.next_step}"
    counts = Counter(kind for those in found.values() for kind in {one.kind for one in those})
    parts = [f"{sum(not those for those in found.values())} sound"]
    parts += [f"{counts[kind]} {kind}" for kind in get_args(Kind) if counts[kind]]
    yield f"{len(found)} results: {', '.join(parts)}"


def _told(found: dict[str, list[Problem]], store: str) -> dict[str, object]:
    """Return the same, JSON-ready."""
    listed = [asdict(one) for those in found.values() for one in those]
    return {"schema": SCHEMA, "store": store, "results": len(found), "problems": listed}
