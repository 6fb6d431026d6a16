"""Makes the jobs' folders alone, for a scheduler that mae-bench does not know."""

from mae_bench.suite.display import Display
from mae_bench.suite.launch.devices import compute_of
from mae_bench.suite.preflight import Ground
from mae_bench.suite.store import CANCELLED
from mae_bench.suite.wording import job_name


def prepare(ground: Ground, display: Display, parallel: int) -> dict[str, str]:
    """Write the folder of each job that could be started; return why the others cannot be.

    Tells each job's key and the key it needs, in an order in which they can be started; `parallel`
    has no meaning here.
    """
    store, failed = ground.store, dict[str, str]()
    for job in ground.plan.jobs:
        (store.dir(job) / CANCELLED).unlink(missing_ok=True)  # it is asked for anew
        state = store.state(job)
        if state.name == "done":
            continue
        if job.key in ground.blocked:
            failed[job.key] = f"blocked: {ground.blocked[job.key]}"
            display.blocked(job, ground.blocked[job.key])
            continue
        if state.name == "running":
            display.waiting(job, state.reason)
            continue
        store.prepare(job, ground.data(job), compute_of(job, ground))
        source = ground.plan.source_of(job)
        needs = source is not None and store.result(source) is None
        after = f"  after {source.key}" if source is not None and needs else ""
        display.note(f"prepared  {job.key}{after}  {job_name(job)}")
    return failed
