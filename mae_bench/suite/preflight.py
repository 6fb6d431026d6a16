"""What must hold before the first job starts: data, toolboxes, a store that can be written."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mae_bench.core.demo_data import DemoData, demo_roots
from mae_bench.core.job import Checkpoint, Job
from mae_bench.core.names import check_own
from mae_bench.core.recipe import Recipe
from mae_bench.core.site import Site
from mae_bench.kit.fingerprints import fingerprint, known_counts
from mae_bench.kit.layouts import check
from mae_bench.suite.audits import broken, wanted_of
from mae_bench.suite.cost.disk import disk_problem
from mae_bench.suite.plan import ABSENT, Plan, plan
from mae_bench.suite.store import RESULT, Store
from mae_bench.suite.suite import Suite
from mae_bench.suite.toolboxes import missing
from mae_bench.suite.tracking import problems as tracker_problems


class PreflightError(Exception):
    """Something is missing that no job could run without; one line for each problem."""


@dataclass(frozen=True)
class Ground:
    """A suite on this machine: its plan, its store, where its data is, and what blocks a job."""

    plan: Plan
    store: Store
    site: Site
    roots: Mapping[str, Path]
    """Data set name -> root, made or to be made where it is demo data."""
    blocked: dict[str, str] = field(default_factory=dict)
    """Job key -> why it cannot run here."""

    def data(self, job: Job) -> Path | None:
        """Return the job's data root."""
        return self.roots.get(job.recipe.dataset)


def survey(suite: Suite, site: Site) -> Ground:
    """Return the suite's plan and what blocks each of its jobs that is not done; makes nothing."""
    roots, fingerprints = _data(suite.demo_data, site)
    planned = replace(plan(suite, fingerprints), counted=known_counts(_cache(site)))
    return _blocked(Ground(planned, Store(site.store), site, roots))


def single_ground(
    recipe: Recipe, seed: int, source: Checkpoint | None, label: str, site: Site
) -> Ground:
    """Return the ground of one job outside a suite."""
    roots, fingerprints = _data(None, site)
    job = Job(label, recipe, seed, fingerprints.get(recipe.dataset, ABSENT), source)
    planned = Plan(None, (job,), (), known_counts(_cache(site)))
    return _blocked(Ground(planned, Store(site.store), site, roots))


def _blocked(ground: Ground) -> Ground:
    """Return the ground with the reason of every job that cannot run on it."""
    planned, store, site = ground.plan, ground.store, ground.site
    blocked: dict[str, str] = {}
    for job in planned.jobs:
        if store.result(job) is not None:
            continue
        source = planned.source_of(job)
        if source is not None and source.key in blocked:
            blocked[job.key] = f"needs {source.recipe.name} of {source.row}, which is blocked"
            continue
        reason = _without_toolbox(job, site) or _data_problem(job, ground)
        reason = reason or _product_problem(job, store)
        if reason:
            blocked[job.key] = reason
    return replace(ground, blocked=blocked)


def prepare_ground(
    ground: Ground, progress: Callable[[int, int], None], results: Path | None = None
) -> None:
    """Make demo data that is still missing; check data and folders of the jobs to run.

    `results` is the folder that the tables go to, if there are any. `progress` is called with
    counts of files looked at or made. Raises PreflightError with every problem before any work is
    done.
    """
    wanted: dict[str, set[str]] = {}
    for job in _able(ground):
        if job.recipe.dataset:
            parts = wanted.setdefault(job.recipe.dataset, set())
            parts.update(getattr(job.recipe, "sets", ()))
    own = {name for name in wanted if _is_made(name, ground)}
    made = _demo_root(ground.plan.demo_data, ground.site)
    problems = [
        line
        for name in sorted(wanted.keys() - own)
        for line in check(name, ground.roots.get(name), sorted(wanted[name]))
    ]
    problems += _elsewhere(ground) + _untracked(ground)
    if results is not None:
        problems += unwritable(results / ground.plan.name, "results")
    problems += unwritable(ground.store.root, "store") or disk_problem(
        [job for job in _able(ground) if job.key not in ground.blocked],
        ground.store,
        ground.plan.data_sizes,
        ground.site.compute.keep,
    )
    if not problems:
        ground.store.root.mkdir(parents=True, exist_ok=True)
        problems = _broken_data(ground, own, progress)
    if problems:
        raise PreflightError("\n".join(problems))
    sizes = ground.plan.demo_data
    if own and made is not None and sizes is not None:
        _make_demo_data(made, sizes, own, progress)


def _broken_data(ground: Ground, own: set[str], progress: Callable[[int, int], None]) -> list[str]:
    """Return what is wrong within the data sets of the jobs to run, each looked at once."""
    wanted = {
        wanted_of(job.recipe, root)
        for job in _able(ground)
        if (root := ground.data(job)) is not None and job.recipe.dataset not in own
    }
    lines = (broken(one, ground.store.root, progress) for one in sorted(wanted, key=repr))
    return [line for line in lines if line]


def _able(ground: Ground) -> list[Job]:
    """Return the jobs that are not done and whose toolbox is there; no others need their data."""
    return [
        job
        for job in ground.plan.jobs
        if ground.store.result(job) is None and not _without_toolbox(job, ground.site)
    ]


def _without_toolbox(job: Job, site: Site) -> str | None:
    """Return what is missing of the job's toolbox."""
    framework = job.recipe.resources.framework
    return missing(framework, site.interpreter(framework))


def _make_demo_data(
    root: Path, sizes: DemoData, own: set[str], progress: Callable[[int, int], None]
) -> None:
    """Make what is missing of the demo data; VOC only where a job wants it."""
    if not root.exists():
        from mae_bench.kit.scene_files import make_demo

        root.parent.mkdir(parents=True, exist_ok=True)
        make_demo(root, sizes, progress)
    if "voc" in own and not demo_roots(root)["voc"].exists():
        from mae_bench.kit.voc_scenes import add_voc

        add_voc(root, sizes, progress)


def _data(sizes: DemoData | None, site: Site) -> tuple[dict[str, Path], dict[str, str]]:
    """Return roots and fingerprints; demo data is known by its sizes, made or not."""
    made = _demo_root(sizes, site)
    roots = {} if made is None else demo_roots(made)
    fingerprints = {name: f"{made.name}/{name}" for name in roots} if made is not None else {}
    cache = _cache(site)
    for name, root in site.data.items():
        roots[name] = root
        fingerprints.pop(name, None)
        if root.is_dir():
            fingerprints[name] = fingerprint(name, root, cache)
    return roots, fingerprints


def _cache(site: Site) -> Path:
    """Return where the fingerprints of data roots are remembered."""
    return site.store / "fingerprints.json"


def _demo_root(sizes: DemoData | None, site: Site) -> Path | None:
    """Return where demo data of those sizes lies, None if there is none."""
    return None if sizes is None else site.store / "data" / f"demo-{sizes.key}"


def _is_made(name: str, ground: Ground) -> bool:
    """Return whether the data set is demo data that is made when it is needed."""
    own = ground.plan.demo_data is not None and name not in ground.site.data
    return own and name in demo_roots(Path())


def _data_problem(job: Job, ground: Ground) -> str | None:
    """Return why the job's data is not there; demo data can always be made."""
    name = job.recipe.dataset
    if not name or _is_made(name, ground):
        return None
    root = ground.roots.get(name)
    return check(name, root)[0] if root is None or not root.is_dir() else None


def _product_problem(job: Job, store: Store) -> str | None:
    """Return that the job's source is done, but that what it made was removed."""
    file = store.encoder(job)
    if not isinstance(job.source, Job) or store.result(job.source) is None or file is None:
        return None
    if file.exists():
        return None
    return (
        f"{file} is gone, though {job.source.recipe.name} of {job.source.row} is done; remove "
        f"{file.with_name(RESULT)}, and the same run makes it again"
    )


def _elsewhere(ground: Ground) -> list[str]:
    """Return a problem for each job to run whose folder leads out of the store."""
    problems = []
    for job in _able(ground):
        try:
            check_own(ground.store.dir(job), "the store")
        except ValueError as error:
            problems.append(f"store: {error}")
    return problems


def _untracked(ground: Ground) -> list[str]:
    """Return why trackers that are asked for cannot be used by the jobs to run."""
    names = ground.site.compute.track
    jobs = _able(ground) if names else []
    pythons = {ground.site.interpreter(job.recipe.resources.framework) for job in jobs}
    return [line for python in sorted(pythons) for line in tracker_problems(names, python)]


def unwritable(folder: Path, what: str) -> list[str]:
    """Return a problem if nothing can be written to a folder, or made where it will be.

    It is tried: permissions alone do not tell of a read-only file system. Nothing is left.
    """
    there = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=there):
            return []
    except OSError as error:
        where = folder if there == folder else f"{folder} in {there}"
        return [f"{what}: cannot write {where} ({error.strerror}); pass --{what} DIR"]
