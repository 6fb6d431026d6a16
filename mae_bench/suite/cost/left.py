"""What is left of jobs, from what is expected of them and from their own progress."""

from mae_bench.core.files import last_progress
from mae_bench.core.job import Job
from mae_bench.suite.cost.device import chosen_device
from mae_bench.suite.cost.estimate import estimates
from mae_bench.suite.cost.samples import read_samples
from mae_bench.suite.plan import Plan
from mae_bench.suite.store import Store


def expected_seconds(plan: Plan, store: Store, gpus: int = 1) -> dict[str, float]:
    """Return the seconds expected of every job by key, on that many devices.

    They are this machine's GPUs; without one, what most results in the store were made on.
    """
    samples = read_samples(store.root)
    device = chosen_device("", samples, plan.demo_data)
    return {key: one.seconds(gpus) for key, one in estimates(plan, samples, device).items()}


def job_left(store: Store, job: Job, expected: float, elapsed: float) -> float:
    """Return the seconds left of a running job, from its own progress once there is some."""
    share = done_share(store, job)
    if share < 0.05 or elapsed < 10:
        return max(1.0, expected - elapsed)
    return max(1.0, elapsed * (1 - share) / share)


def done_share(store: Store, job: Job) -> float:
    """Return the share of its steps that a job has logged, 0 before the first."""
    line = last_progress(store.dir(job))
    return min(1.0, line["step"] / line["steps"]) if line and line.get("steps") else 0.0
