"""Suites: run them, show their plan, write their tables."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path

from rich.console import Console

from mae_bench.cli import FAILED, OK, PREFLIGHT
from mae_bench.commands.options import Place, parse
from mae_bench.core.compute import Compute
from mae_bench.core.names import check_own
from mae_bench.kit.gpus import visible_gpus
from mae_bench.suite.cost.device import slots
from mae_bench.suite.display import Bars, Display, Lines
from mae_bench.suite.launch import On
from mae_bench.suite.narrow import Filters, part_of
from mae_bench.suite.preflight import Ground, PreflightError, prepare_ground, survey
from mae_bench.suite.presets import named_suite

Launcher = Callable[[Ground, Display, int], dict[str, str]]
"""Runs what is not done; returns why each job without a result has none, by key."""
LAUNCHERS = {
    "local": "mae_bench.suite.launch.local:launch",
    "slurm": "mae_bench.suite.launch.slurm.launch:launch",
    "detached": "mae_bench.suite.launch.slurm.launch:detach",
    "prepared": "mae_bench.suite.launch.folders:prepare",
}


@dataclass(frozen=True)
class RunOptions:
    """Which suite to run, and where."""

    suite: str
    """A preset (demo, demo-ssl, smoke, full) or a TOML file."""
    tier: str = "full"
    """full, or lite: the published short schedules; or a tier of the suite's own."""
    filters: Filters = field(default_factory=Filters)
    dry_run: bool = False
    """Only print what would be done and what it costs, as `mae-bench plan` does."""
    on: On = "local"
    """Where jobs run: local, on this machine, or slurm, as site.toml's [slurm] says."""
    detach: bool = False
    """With --on slurm: submit what is missing and end, instead of following it."""
    prepare: bool = False
    """Only make the jobs' folders, for another scheduler: see docs/cluster.md."""
    parallel: int = 0
    """Jobs at once here; 0: one for each GPU, or for each CPU core up to four."""
    track: tuple[str, ...] = ()
    """Trackers that are told how jobs go, such as wandb, in place of the site's compute.track."""
    results: Path = Path("results")
    """Folder for the tables, in a subfolder of the suite's name."""
    place: Place = field(default_factory=Place)


@dataclass(frozen=True)
class ReportOptions:
    """Which suite's tables to write."""

    suite: str
    """A preset (demo, demo-ssl, smoke, full) or a TOML file."""
    tier: str = "full"
    """full, or lite: the published short schedules; or a tier of the suite's own."""
    results: Path = Path("results")
    """Folder for the tables, in a subfolder of the suite's name."""
    place: Place = field(default_factory=Place)


def run(words: list[str]) -> int:
    """Run a suite and write its tables; return the exit code."""
    options = parse(RunOptions, "run", words, "Run a suite: what is done is not run again.")
    if options.parallel < 0:
        raise ValueError(f"--parallel must be >= 0, got {options.parallel}")
    site = options.place.read()
    if options.track:
        site = replace(site, compute=replace(site.compute, track=options.track))
    ground = survey(named_suite(options.suite, site.store, options.tier), site)
    part = part_of(ground, options.filters)
    if options.dry_run:
        from mae_bench.commands.plan import Price, asked_queue, print_bill
        from mae_bench.suite.cost.bill import Wishes, bill

        print_bill(ground.plan.name, bill(part, Wishes(on=options.on), asked_queue(part)), Price())
        return OK
    if options.detach and options.on == "local":
        raise ValueError("--detach needs a scheduler that keeps the jobs: --on slurm")
    if options.prepare and (options.detach or options.on != "local"):
        raise ValueError("--prepare is for other schedulers; leave out --on and --detach")
    compute = ground.site.compute
    here = options.on == "local" and not options.prepare
    if here:
        check_parallel(options.parallel, compute)
    check_own(options.results / ground.plan.name, "the folder of tables")
    code = prepared(part, options.results)
    if code == OK and here:
        code = enough_gpus(compute)
    if code != OK:
        return code
    way = "detached" if options.detach else "prepared" if options.prepare else options.on
    failed = run_jobs(part, options.parallel or slots(1), way)
    if not (options.detach or options.prepare):
        write_tables(ground, options.results)
    if failed:
        print(f"mae-bench: {len(failed)} of {len(part.plan.jobs)} jobs have no result (above)")
    return FAILED if failed else OK


def report(words: list[str]) -> int:
    """Write a suite's tables from the store; return the exit code."""
    options = parse(ReportOptions, "report", words, "Write a suite's tables again.")
    site = options.place.read()
    if not site.store.is_dir():
        raise ValueError(f"no store {site.store} to write the tables of; pass --store DIR")
    write_tables(
        survey(named_suite(options.suite, site.store, options.tier), site), options.results
    )
    return OK


def check_parallel(parallel: int, compute: Compute) -> None:
    """Raise ValueError if this machine's GPUs are too few for so many jobs at once."""
    most = slots(compute.gpus)
    found = visible_gpus()
    if found and parallel > most:
        raise ValueError(
            f"--parallel {parallel} jobs of {compute.gpus} GPUs: this machine has {found}, "
            f"enough for {most}"
        )


def enough_gpus(compute: Compute) -> int:
    """Return 3 after saying so if the machine has GPUs, but fewer than asked for."""
    found = visible_gpus()
    if found == 0 or compute.gpus <= found:
        return OK
    print(f"mae-bench: {compute.gpus} GPUs asked for (--gpus): {found} found", file=sys.stderr)
    return PREFLIGHT


def prepared(ground: Ground, results: Path | None = None) -> int:
    """Make or check what the jobs and their tables need; return 3 with every problem printed."""
    try:
        prepare_ground(ground, DataProgress(), results)
    except PreflightError as error:
        print(f"mae-bench: cannot start:\n{error}", file=sys.stderr)
        return PREFLIGHT
    return OK


def run_jobs(ground: Ground, parallel: int, way: str = "local") -> dict[str, str]:
    """Run what is not done, showing progress; return why jobs have no result, by key.

    `way` is one of LAUNCHERS.
    """
    states = Counter(ground.store.result(job) is not None for job in ground.plan.jobs)
    total, done = len(ground.plan.jobs), states[True]
    print(f"{ground.plan.name}: {total} jobs, {done} cached, store {ground.store.root}")
    if done == total:
        return {}
    module, _, name = LAUNCHERS[way].partition(":")
    launch: Launcher = getattr(import_module(module), name)
    console = Console()
    if console.is_terminal:
        with Bars(total, done, console) as bars:
            return launch(ground, bars, parallel)
    return launch(ground, Lines(total, done, lambda line: print(line, flush=True)), parallel)


def write_tables(ground: Ground, results: Path) -> None:
    """Write the suite's tables, print the leaderboard and say where everything is."""
    from mae_bench.report.kept import report_of

    folder = results / ground.plan.name
    report = report_of(ground.plan, ground.store, folder, ground.blocked)
    print()
    print(report.main_table)
    print(f"tables: {', '.join(str(path) for path in report.paths if path.parent == folder)}")
    print(f"jobs:   {ground.store.root}/<key>/ (job.json, log.txt, metrics.jsonl, result.json)")


class DataProgress:
    """Prints how far the making of data is, at a tenth, two tenths and so on."""

    def __init__(self, what: str = "data") -> None:
        self.what = what
        self.told = -1

    def __call__(self, done: int, total: int) -> None:
        """Print at every tenth."""
        tenth = 10 * done // total
        if tenth != self.told:
            self.told = tenth
            print(f"{self.what}: {done}/{total} images", flush=True)
