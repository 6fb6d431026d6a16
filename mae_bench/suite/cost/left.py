"""What is left of jobs, from what is expected of them and from their own progress."""

from collections.abc import Mapping

from mae_bench.core.files import last_progress
from mae_bench.core.job import Job
from mae_bench.suite.attempts import saved_in
from mae_bench.suite.cost.device import chosen_device
from mae_bench.suite.cost.estimate import estimates
from mae_bench.suite.cost.samples import read_samples
from mae_bench.suite.plan import Plan
from mae_bench.suite.store import Store

MOST_SAVED = 0.99
"""Share of a job that is at most taken as done before its result is there."""


def expected_seconds(
    plan: Plan, store: Store, devices: Mapping[str, int] | None = None
) -> dict[str, float]:
    """Return the seconds expected of every job by key, each on its devices: one where not named.

    They are this machine's GPUs; without one, what most results in the store were made on.
    """
    devices = devices or {}
    samples = read_samples(store.root)
    device = chosen_device("", samples, plan.demo_data)
    known = estimates(plan, samples, device)
    return {key: one.seconds(devices.get(key, 1)) for key, one in known.items()}


def job_left(store: Store, job: Job, expected: float, elapsed: float) -> float:
    """Return the seconds left of a running job, from its own progress once there is some."""
    share = done_share(store, job)
    if share < 0.05 or elapsed < 10:
        return max(1.0, expected - elapsed)
    return max(1.0, elapsed * (1 - share) / share)


def saved_share(store: Store, job: Job) -> float:
    """Return the share of its steps that a job which is not at work would not take again.

    It is what the newest checkpoint of its own training holds, of as many steps as it logged. The
    rest of a job, such as its evaluation, is never nothing as long as there is no result.
    """
    line, saved = last_progress(store.dir(job)), saved_in(store.dir(job)).own
    if not saved or not line or not line.get("steps"):
        return 0.0
    return min(MOST_SAVED, saved / float(line["steps"]))


def done_share(store: Store, job: Job) -> float:
    """Return the share of its steps that a job has logged, 0 before the first."""
    line = last_progress(store.dir(job))
    return min(1.0, line["step"] / line["steps"]) if line and line.get("steps") else 0.0
