"""Runs one job's folder to its result: python -m mae_bench.suite.execute DIR.

Any scheduler can start it, again and again. From the environment it takes, if they are there,
MAE_BENCH_NODES and MAE_BENCH_NODE (how many nodes start it, and which this is) and
MAE_BENCH_START (what started it, such as slurm/JOB/RESTARTS). docs/cluster.md has examples.
"""

import json
import logging
import os
import signal
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from mae_bench.core.compute import read_compute
from mae_bench.core.fidelity import fidelity
from mae_bench.core.files import write_json
from mae_bench.core.parent import end_with_parent
from mae_bench.core.recipe import Context, Recipe, build
from mae_bench.core.turns import BUSY, Superseded, Taken, Turn, mine
from mae_bench.kit.pace import REQUEUE
from mae_bench.kit.parting import part
from mae_bench.kit.power import metered
from mae_bench.suite.attempts import adopt, at_work, begin, in_vain
from mae_bench.suite.audits import broken, wanted_of
from mae_bench.suite.nodes import decline, place
from mae_bench.suite.provenance import facts, provenance
from mae_bench.suite.store import (
    CANCELLED,
    FAILURE,
    JOB,
    RESULT,
    SCHEMA,
    check_metrics,
    read_result,
    sealed,
)
from mae_bench.suite.torchrun import follow, run_ranks
from mae_bench.suite.tracking import tracked
from mae_bench.suite.verdict import FAILED, error_of, give_up, leave_failure, passing

log = logging.getLogger(__name__)

DONE, USAGE = 0, 2
OUTCOMES = {DONE: "done", FAILED: "failed", REQUEUE: "stopped", BUSY: "superseded"}
SPENT = "seconds.json"
"""Wall time of the attempts before this one."""


def execute(folder: Path) -> int:
    """Run the job in folder and return the exit code.

    0: done; 1: failed; 75: stopped, to be started again; 76: another process runs it.
    result.json is written last, whole; a failure leaves failure.json with its reason. Of several
    ranks the first does so, and the others run the recipe beside it.
    """
    folder = folder.resolve()
    job = json.loads((folder / JOB).read_text())
    recipe = recipe_of(job)
    ours = mine()
    given = ours is not None and ours.folder.parents[1] == folder
    if int(os.environ.get("RANK", "0")) > 0:
        return _follow(folder, job, recipe)
    if given and "RANK" in os.environ:  # the attempt is that of the process which started the ranks
        return _run(folder, job, recipe)
    early = None if given else _early(folder, job, recipe)
    if early is not None:
        return early
    here = place(os.environ)
    if here.node > 0:
        return follow(folder, here, read_compute(folder).gpus)
    try:
        if given and ours is not None:
            turn = ours
            adopt(turn, here.start)
        else:
            turn = begin(folder, here.start)
    except Taken as taken:
        log.error("%s", taken)
        decline(folder, here, BUSY)
        return BUSY
    with at_work(turn):
        log.info("attempt %d begins: %s", turn.number, turn.owner)
        return _attempt(turn, folder, job, recipe)


def recipe_of(job: dict[str, Any]) -> Recipe:
    """Return the recipe that a job.json names, with its fields."""
    module, _, name = job["target"].partition(":")
    cls: type[Recipe] = getattr(import_module(module), name)
    return build(cls, job["fields"])


def _attempt(turn: Turn, folder: Path, job: dict[str, Any], recipe: Recipe) -> int:
    """Make one attempt, on as many ranks as compute.json says; note how it ended."""
    try:
        code = _code(turn, folder, job, recipe)
    except Superseded:
        raise
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else FAILED
        turn.end(_outcome(folder, code), code=code)
        raise
    except KeyboardInterrupt:
        turn.end(_outcome(folder, REQUEUE), code=REQUEUE)
        raise
    turn.end(_outcome(folder, code), code=code)
    return code


def _outcome(folder: Path, code: int) -> str:
    """Return in a word how an attempt ended."""
    if code in (FAILED, REQUEUE) and (folder / CANCELLED).exists():
        return "cancelled"
    return OUTCOMES.get(code, "failed")


def _code(turn: Turn, folder: Path, job: dict[str, Any], recipe: Recipe) -> int:
    """Return the exit code of one attempt."""
    if _is_done(folder, job, recipe):  # by the attempt before, while this one began
        return DONE
    if (folder / CANCELLED).exists():
        log.error("cancelled: `mae-bench run` or `mae-bench retry` starts it again")
        return FAILED
    (folder / FAILURE).unlink(missing_ok=True)
    if in_vain(folder, job.get("attempts_before", 0)):
        give_up(folder, turn)
        return FAILED
    compute, here = read_compute(folder), place(os.environ)
    with tracked(folder, compute.track):
        if (compute.gpus > 1 or here.nodes > 1) and "RANK" not in os.environ:
            return run_ranks(folder, compute.gpus, here)
        return _run(folder, job, recipe)


def _follow(folder: Path, job: dict[str, Any], recipe: Recipe) -> int:
    """Run the recipe as one of the further ranks; return its exit code."""
    if _is_done(folder, job, recipe):
        return DONE
    try:
        _metrics(folder, job, recipe)
    except Exception as error:
        return _fail(folder, error)
    return DONE


def _is_done(folder: Path, job: dict[str, Any], recipe: Recipe) -> bool:
    """Return whether the job has its result."""
    return read_result(folder / RESULT, job["key"], recipe.metrics) is not None


def _early(folder: Path, job: dict[str, Any], recipe: Recipe) -> int | None:
    """Return the exit code of a start that has nothing to do, or nothing to do it with yet."""
    if _is_done(folder, job, recipe):
        return DONE
    path = Path(job["encoder"] or folder)
    if path.parent.parent == folder.parent and not path.exists():
        log.error("the job that makes its encoder is not done yet: %s", path.parent.name)
        return REQUEUE
    return None


def _context(folder: Path, job: dict[str, Any]) -> Context:
    """Return what the recipe may know."""
    data, encoder = (None if job[key] is None else Path(job[key]) for key in ("data", "encoder"))
    return Context(folder, job["seed"], data, encoder)


def _metrics(folder: Path, job: dict[str, Any], recipe: Recipe) -> dict[str, float]:
    """Run the recipe on this rank, and part from the others; return its metrics."""
    metrics = recipe.run(_context(folder, job))
    part()
    return metrics


def _fail(folder: Path, error: Exception) -> int:
    """Leave why the job failed and return the exit code; 75 where a killed process is the reason.

    A rank leaves its error to the process that started all of them, which knows how each ended.
    """
    traceback.print_exception(error)
    found, turn, rank = error_of(error), mine(), os.environ.get("RANK")
    owner = None if turn is None else turn.owner
    if turn and rank is not None and owner is not None and not owner.is_this_process:
        turn.note(f"error-{rank}.json", **found)
        return FAILED
    if passing(found):
        log.warning("%s; the job is to be started again", passing(found))
        return REQUEUE
    if not (folder / FAILURE).exists():
        leave_failure(folder, found, turn)
    return FAILED


def _run(folder: Path, job: dict[str, Any], recipe: Recipe) -> int:
    """Run the recipe once; leave a result or a failure."""
    from mae_bench.kit.loss_figure import loss_figure  # numpy, which starting a job needs not

    started = time.time()
    try:
        _check_data(folder, job, recipe)
        with metered(folder):
            metrics = _metrics(folder, job, recipe)
        check_metrics(metrics, recipe.metrics)
        loss_figure(folder)
        content = {
            "schema": SCHEMA,
            "key": job["key"],
            "metrics": {name: float(value) for name, value in metrics.items()},
            "fidelity": fidelity(recipe, facts(folder)),
            "provenance": provenance(folder, job, recipe, started),
        }
    except SystemExit:
        _spend(folder, time.time() - started)
        raise
    except Exception as error:
        _spend(folder, time.time() - started)
        code = _fail(folder, error)
        loss_figure(folder)
        return code
    content["seconds"] = round(_spend(folder, time.time() - started), 1)
    write_json(folder / RESULT, sealed(content))
    log.info("done: %s", metrics)
    return DONE


def _check_data(folder: Path, job: dict[str, Any], recipe: Recipe) -> None:
    """Raise ValueError if the job's data is broken; what was found fine is not looked at again."""
    if job["data"] is not None:
        wanted = wanted_of(recipe, Path(job["data"]))
        problem = broken(wanted, folder.parent, lambda done, total: None)
        if problem:
            raise ValueError(problem)


def _spend(folder: Path, seconds: float) -> float:
    """Add the attempt's seconds to those before and return the sum."""
    path = folder / SPENT
    try:
        before = float(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        before = 0.0
    write_json(path, before + seconds)
    return before + seconds


def main() -> None:
    """Execute the folder named on the command line."""
    end_with_parent()
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / JOB).is_file():
        print(f"usage: python -m mae_bench.suite.execute FOLDER, a job's with its {JOB}")
        sys.exit(USAGE)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stdout
    )
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, lambda number, frame: sys.exit(REQUEUE))
    sys.exit(execute(Path(sys.argv[1]).resolve()))


if __name__ == "__main__":
    main()
