"""How long each job takes on a kind of device: measured, calibrated, published, or estimated."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from mae_bench.core.demo_data import DemoData
from mae_bench.core.job import Job
from mae_bench.core.recipe import build
from mae_bench.kit.archs import ARCHS
from mae_bench.kit.gpus import kind_of
from mae_bench.kit.work import Cost
from mae_bench.suite.cost.counting import job_arch, recipe_work, work_of
from mae_bench.suite.cost.device import Device
from mae_bench.suite.cost.samples import Sample, nominal_flops
from mae_bench.suite.plan import DataSizes, Plan

UTILISATION = {"torch": 0.15, "detectron2": 0.055, "mmseg": 0.055}
"""Share of a data sheet's dense 16-bit peak that training reaches, by framework: that of the
published runs of facebookresearch/mae on V100 (0.13 to 0.21) and of ViTDet's on A100 (0.05 to
0.06). Nobody published hours of mmsegmentation's UperNet on a ViT; it is taken for detectron2's."""

How = Literal["measured", "calibrated", "published", "estimated"]


@dataclass(frozen=True)
class Estimate:
    """What one whole job takes, on one device or shared by several."""

    gpu_seconds: float
    how: How
    source: str
    """What the number comes from, for people."""

    def seconds(self, gpus: int) -> float:
        """Return the wall time on that many devices, as if they shared the work without loss."""
        return self.gpu_seconds / max(1, gpus)


def estimates(plan: Plan, samples: Sequence[Sample], device: Device) -> dict[str, Estimate]:
    """Return what each job takes, by key, from the best that is known of jobs like it.

    Measured in this store, then calibrated, then published hours, then an estimate.
    """
    here = [sample for sample in samples if device.is_that_of(sample.device)]
    return {job.key: _estimate(job, here, device, plan.data_sizes) for job in plan.jobs}


def _estimate(job: Job, samples: Sequence[Sample], device: Device, sizes: DataSizes) -> Estimate:
    """Return what a job takes; all samples are of the device."""
    for how in ("measured", "calibrated"):
        known = [
            sample
            for sample in samples
            if (sample.how, sample.recipe, sample.data)
            == (how, job.recipe.name, job.data_fingerprint)
        ]
        found = _from_samples(job, known)
        if found is not None:
            return found
    if device.kind is None:
        return _from_demo(job, sizes)
    return _from_published(job, device, sizes) or _from_flops(job, device, sizes)


def _from_samples(job: Job, samples: Sequence[Sample]) -> Estimate | None:
    """Return the median of jobs of the same recipe and data, scaled by FLOPs; None without any.

    Those of the same encoder size are preferred.
    """
    arch = job_arch(job)
    samples = [sample for sample in samples if sample.arch == arch] or samples
    flops = nominal_flops(job.recipe, arch)
    if flops:
        samples = [sample for sample in samples if sample.flops]
        times = [sample.gpu_seconds * flops / sample.flops for sample in samples]
    else:
        samples = [sample for sample in samples if sample.arch == arch]
        times = [sample.gpu_seconds for sample in samples]
    if not times:
        return None
    how = samples[0].how
    words = "a few steps timed here" if how == "calibrated" else _jobs_here(len(times))
    return Estimate(median(times), how, words)


def _from_published(job: Job, device: Device, sizes: DataSizes) -> Estimate | None:
    """Return the hours that somebody published, scaled by FLOPs and by the data sheets' peaks."""
    work, costs = work_of(job, sizes), getattr(job.recipe, "published_costs", ())
    if work is None or not work.flops or not costs or device.kind is None:
        return None
    arch = job_arch(job)
    pairs = [(_published_flops(job, cost), cost) for cost in costs]
    flops, cost = min(
        pairs, key=lambda pair: (pair[1].arch != arch, abs(math.log(work.flops / pair[0])))
    )
    theirs = kind_of(cost.device)
    assert theirs is not None
    gpu_seconds = cost.hours * 3600 * cost.gpus * work.flops / flops
    gpu_seconds *= theirs.peak_flops / device.kind.peak_flops
    scaled = "" if theirs == device.kind else f", by peak FLOP/s for {device.kind.name}"
    return Estimate(gpu_seconds, "published", f"{cost.source}{scaled}")


def _published_flops(job: Job, cost: Cost) -> float:
    """Return the FLOPs of the run that was published."""
    cls = type(job.recipe)
    recipe = build(cls, cost.fields, cls.published(cost.arch, "mae"))
    work = recipe_work(recipe, ARCHS[cost.arch])
    assert work is not None
    return work.flops


def _from_flops(job: Job, device: Device, sizes: DataSizes) -> Estimate:
    """Return the FLOPs at a usual share of the device's peak; the recipe's hours without FLOPs."""
    work, needs = work_of(job, sizes), job.recipe.resources
    assert device.kind is not None
    if work is None or not work.flops:
        return Estimate(needs.hours * 3600 * max(1, needs.gpus), "estimated", "a rough constant")
    share = UTILISATION[needs.framework]
    words = f"FLOPs at {share:.1%} of the data sheet's peak of {device.kind.name}"
    return Estimate(work.flops / (share * device.kind.peak_flops), "estimated", words)


def _from_demo(job: Job, sizes: DataSizes) -> Estimate:
    """Return the seconds of the recipe's demo on two cores, scaled by FLOPs."""
    needs, work = job.recipe.resources, work_of(job, sizes)
    demo = recipe_work(type(job.recipe).demo(), ARCHS["vit_demo_patch8"], DataSizes(DemoData()))
    seconds = needs.demo_seconds
    if work and demo and work.flops and demo.flops:
        seconds *= work.flops / demo.flops
    return Estimate(seconds, "estimated", "the recipe's demo on two cores, scaled by FLOPs")


def _jobs_here(count: int) -> str:
    """Return how many jobs a number is the median of."""
    return "1 job here" if count == 1 else f"{count} jobs here"
