"""Ways to get planned jobs executed, and what a scheduler's queue holds of them."""

from collections.abc import Iterable

from mae_bench.core.site import Site
from mae_bench.suite.launch.queue import QueueEntry
from mae_bench.suite.store import Store


def queue_of(site: Site, store: Store) -> dict[str, QueueEntry]:
    """Return the store's jobs in the scheduler's queue by key; none where nothing was submitted.

    Raises Unanswered where jobs were submitted and the scheduler does not say.
    """
    from mae_bench.suite.launch.slurm.queue import queued

    return queued(store, site)


def cancel(site: Site, store: Store, keys: Iterable[str]) -> dict[str, str]:
    """Take jobs out of the scheduler's queue; return the scheduler's id of each, by key.

    Running ones save themselves first. Keys that are not in the queue are left out. Raises
    Unanswered where the scheduler does not answer.
    """
    from mae_bench.suite.launch.slurm.queue import take_out

    return take_out(store, site, keys)
