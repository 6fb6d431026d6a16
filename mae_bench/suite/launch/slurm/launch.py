"""Runs a suite through SLURM's queue: submits what is missing, and follows it to its results.

Nothing of the suite ends when this does: the same command, from anywhere, takes up its jobs.
"""

import time

from mae_bench.core.turns import Taken
from mae_bench.suite.attempts import last_number
from mae_bench.suite.cost.left import expected_seconds, job_left
from mae_bench.suite.cost.schedule import chain_seconds, suite_left
from mae_bench.suite.display import Display
from mae_bench.suite.launch import devices_of
from mae_bench.suite.launch.queue import Unanswered
from mae_bench.suite.launch.slurm.graph import submit_missing
from mae_bench.suite.launch.slurm.queue import look, store_id, whose
from mae_bench.suite.launch.slurm.reading import read_files, read_queue
from mae_bench.suite.launch.slurm.run import Run, run_of
from mae_bench.suite.preflight import Ground

TICKS_S = (1.0, 5.0)
"""Least and most seconds between two looks at the files: a quarter of those of the queue."""
LATER = (
    "`mae-bench status` says how they stand, `mae-bench cancel` takes them out, and the same "
    "`mae-bench run`, from any login node, follows them again"
)


def launch(ground: Ground, display: Display, parallel: int) -> dict[str, str]:
    """Submit what is missing and follow it; return why each job without a result has none.

    `parallel` has no meaning here: the scheduler decides. On KeyboardInterrupt the jobs stay.
    """
    run = run_of(ground, display)
    devices = {job.key: devices_of(job, ground, "slurm") for job in ground.plan.jobs}
    expected = expected_seconds(ground.plan, ground.store, devices)
    chain = chain_seconds(ground.plan, expected)
    try:
        while run.graph.open:
            _step(run)
            _show(run, expected, chain)
            if run.graph.open:
                time.sleep(min(max(_poll_s(run) / 4, TICKS_S[0]), TICKS_S[1]))
    except KeyboardInterrupt:
        display.note(f"{len(run.graph.ids)} jobs stay in the queue; {LATER}")
        raise
    return run.graph.failed


def detach(ground: Ground, display: Display, parallel: int) -> dict[str, str]:
    """Submit what is missing and return why each job that is not in the queue is not.

    Waits for SLURM to answer and for another run that submits, not for room in the queue.
    """
    run = run_of(ground, display)
    while not _looked(run):
        time.sleep(_poll_s(run))
    read_files(run)
    for job in run.open_jobs():
        state = ground.store.state(job)
        if job.key in run.graph.ids:
            continue
        if state.name == "running":
            run.display.waiting(job, state.reason)
        else:
            run.block(job, "not submitted; `mae-bench run` again submits it when there is room")
    display.note(f"{len(run.graph.ids)} jobs are in the queue; {LATER}")
    return run.graph.failed


def _step(run: Run) -> None:
    """Look at the files, and when it is time at the queue; submit what is missing."""
    ended = read_files(run)
    due = time.monotonic() - run.looked >= _poll_s(run)
    if due or (ended and run.graph.without_room):
        _looked(run)
        run.looked = time.monotonic()


def _looked(run: Run) -> bool:
    """Look at the queue and submit what is missing; return whether both could be done."""
    root = run.ground.store.root
    store = store_id(root)
    try:
        read_queue(run, [] if store is None else look(store, whose(root)))
        read_files(run)
        submitted = _submitted(run)
    except Unanswered as error:
        if store_id(root) is None:
            raise ValueError(
                f"SLURM does not answer, and nothing was submitted yet ({error}); run it where "
                "squeue works, or leave out --on slurm"
            ) from error
        often = f"asked again every {_poll_s(run)} s, jobs go on meanwhile"
        run.once("silent", f"waiting   {error}; {often}")
        return False
    run.told.discard("silent")
    return submitted


def _poll_s(run: Run) -> int:
    """Return the seconds between two looks at the queue."""
    return run.ground.site.slurm.common.poll_s


def _submitted(run: Run) -> bool:
    """Submit what is missing; return whether that was this run's turn."""
    graph = run.graph
    try:
        sent = submit_missing(graph)
    except Taken as taken:
        run.once("turn", f"waiting   another run submits jobs now: {taken}")
        return False
    run.told.discard("turn")
    for job in sent:
        run.tried[job.key] = last_number(run.ground.store.dir(job))
    if sent:
        run.display.note(f"submitted {len(sent)} jobs; {len(graph.ids)} are in the queue")
    if graph.without_room:
        text = f"waiting   {graph.without_room} jobs for room in the queue ({graph.full})"
        run.once(text, text)
    for job in run.open_jobs():
        state = run.ground.store.state(job)
        if job.key not in graph.ids and state.name == "running" and job.key not in run.told:
            run.told.add(job.key)
            run.display.waiting(job, state.reason)
    return True


def _show(run: Run, expected: dict[str, float], chain: dict[str, float]) -> None:
    """Tell the display what runs and how long it will take."""
    now, store = time.monotonic(), run.ground.store
    left = {
        key: job_left(store, run.graph.open[key], expected[key], now - since)
        for key, since in run.running.items()
    }
    waiting = {key: expected[key] for key in run.graph.open if key not in left}
    total = suite_left(waiting, left, chain, max(1, len(left)))
    run.display.tick([(run.graph.open[key], left[key]) for key in left], store, total)
