"""Ways to get planned jobs executed, and what a scheduler's queue holds of them."""

from collections.abc import Collection, Iterable
from typing import Literal

from mae_bench.core.job import Job
from mae_bench.core.site import Site
from mae_bench.suite.launch.queue import QueueEntry
from mae_bench.suite.preflight import Ground
from mae_bench.suite.store import Store

On = Literal["local", "slurm"]


def queue_of(site: Site, store: Store) -> dict[str, QueueEntry]:
    """Return the store's jobs in the scheduler's queue by key; none where nothing was submitted.

    Raises Unanswered where jobs were submitted and the scheduler does not say.
    """
    from mae_bench.suite.launch.slurm.queue import queued

    return queued(store, site)


def troubles(store: Store, keys: Iterable[str], queue: Collection[str]) -> list[str]:
    """Return what kept the store's jobs with those keys from the scheduler's queue, in lines.

    `queue` are the keys of what is in it.
    """
    from mae_bench.suite.launch.slurm.troubles import troubles

    return troubles(store.root, keys, queue)


def cancel(site: Site, store: Store, keys: Iterable[str]) -> dict[str, str]:
    """Take jobs out of the scheduler's queue; return the scheduler's id of each, by key.

    Running ones save themselves first. Keys that are not in the queue are left out. Raises
    Unanswered where the scheduler does not answer.
    """
    from mae_bench.suite.launch.slurm.queue import take_out

    return take_out(store, site, keys)


def devices_of(job: Job, ground: Ground, on: On) -> int:
    """Return how many devices the job would take there, over all its nodes."""
    if on == "local":
        return ground.site.compute.gpus if job.recipe.resources.gpus else 1
    from mae_bench.suite.launch.slurm.asked import shape

    nodes, gpus = shape(job, ground)
    return nodes * gpus
