"""What power jobs draw: as measured in results, else the board's by its data sheet."""

from collections.abc import Sequence
from statistics import mean

from mae_bench.core.job import Job
from mae_bench.suite.cost.device import Device
from mae_bench.suite.cost.samples import Sample


def watts_of(job: Job, samples: Sequence[Sample], device: Device) -> tuple[float, str]:
    """Return the mean watts of one device in jobs of the recipe, and what they come from.

    0 and why where nothing is known: a processor whose power nobody measured.
    """
    here = [one for one in samples if one.watts and device.is_that_of(one.device)]
    for known in ([one for one in here if one.recipe == job.recipe.name], here):
        if known:
            return mean(one.watts for one in known), "measured here"
    if device.kind is None:
        return 0.0, "not known for a processor"
    return device.kind.watts, f"assumed: the board power of {device.kind.name}"
