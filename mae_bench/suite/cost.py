"""How long jobs take: first from the demo's measured seconds, then from what finished here."""

from collections import defaultdict
from collections.abc import Mapping
from statistics import mean

from mae_bench.core.files import last_progress
from mae_bench.core.job import Job
from mae_bench.suite.plan import Plan
from mae_bench.suite.store import Store


def expected_seconds(plan: Plan, store: Store) -> dict[str, float]:
    """Return seconds expected of every job by key: the mean of finished jobs of its recipe.

    Where none has finished: the recipe's demo_seconds for suites on demo data, its hours else.
    """
    finished: dict[str, list[float]] = defaultdict(list)
    for job in plan.jobs:
        result = store.result(job)
        if result is not None:
            finished[job.recipe.name].append(result.seconds)
    seconds = {}
    for job in plan.jobs:
        known, needs = finished[job.recipe.name], job.recipe.resources
        guess = needs.demo_seconds if plan.demo_data else needs.hours * 3600
        seconds[job.key] = mean(known) if known else guess
    return seconds


def chain_seconds(plan: Plan, expected: Mapping[str, float]) -> dict[str, float]:
    """Return, for every job, the seconds of the longest line of jobs that starts with it."""
    after: dict[str, float] = defaultdict(float)
    chain = {}
    for job in reversed(plan.jobs):
        chain[job.key] = expected[job.key] + after[job.key]
        source = plan.source_of(job)
        if source is not None:
            after[source.key] = max(after[source.key], chain[job.key])
    return chain


def job_left(store: Store, job: Job, expected: float, elapsed: float) -> float:
    """Return the seconds left of a running job, from its own progress once there is some."""
    line = last_progress(store.dir(job))
    share = line["step"] / line["steps"] if line and line.get("steps") else 0.0
    if share < 0.05 or elapsed < 10:
        return max(1.0, expected - elapsed)
    return max(1.0, elapsed * (1 - share) / share)


def suite_left(
    waiting: Mapping[str, float],
    running: Mapping[str, float],
    chain: Mapping[str, float],
    parallel: int,
) -> float:
    """Return the seconds until all is done: the work shared out, but no less than any chain.

    `waiting` holds the expected seconds and `running` the seconds left, by key.
    """
    work = sum(waiting.values()) + sum(running.values())
    longest = max((chain[key] for key in waiting), default=0.0)
    return max([work / parallel, longest, *running.values()])
