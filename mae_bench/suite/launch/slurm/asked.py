"""What each job of a suite asks the cluster for, and the settings that its processes get."""

from dataclasses import replace

from mae_bench.core.compute import Compute
from mae_bench.core.job import Job
from mae_bench.core.slurm import Slurm
from mae_bench.suite.launch.slurm.queue import job_name as name_in_queue
from mae_bench.suite.launch.slurm.script import Asked
from mae_bench.suite.preflight import Ground
from mae_bench.suite.wording import job_name


def asked_by(job: Job, ground: Ground, store_id: str) -> Asked:
    """Return what the job asks for."""
    slurm = ground.site.slurm.of(job.recipe.name)
    nodes, gpus = shape(job, ground)
    python = interpreter(slurm, ground, job.recipe.resources.framework)
    command = (python, "-m", "mae_bench.suite.execute", ".")
    name = name_in_queue(store_id, job.key)
    return Asked(name, job_name(job), nodes, gpus, slurm, command)


def compute_by(job: Job, ground: Ground) -> Compute:
    """Return the site's settings, with as many ranks as the job has GPUs."""
    nodes, gpus = shape(job, ground)
    return replace(ground.site.compute, gpus=nodes * gpus)


def shape(job: Job, ground: Ground) -> tuple[int, int]:
    """Return nodes, and GPUs on each; a job that trains nothing takes one."""
    slurm = ground.site.slurm.of(job.recipe.name)
    if not job.recipe.resources.gpus:
        return 1, 1
    return slurm.nodes, slurm.gpus_per_node or ground.site.compute.gpus


def interpreter(slurm: Slurm, ground: Ground, framework: str) -> str:
    """Return the Python that runs jobs of a framework on a worker."""
    return slurm.python or str(ground.site.interpreter(framework))
