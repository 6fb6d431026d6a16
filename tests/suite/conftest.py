import json
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from mae_bench.cli import main
from mae_bench.commands.run import run_jobs
from mae_bench.core import registry
from mae_bench.core.site import Site
from mae_bench.suite.preflight import survey
from mae_bench.suite.suite import Column, Suite, made_row

RECIPES = Path(__file__).parent / "recipes"
STOPS = (signal.SIGTERM, signal.SIGUSR2)
TRIALS = {
    "counting": "trial_recipes:Counting",
    "reading": "trial_recipes:Reading",
    "needs_detectron2": "trial_recipes:NeedsDetectron2",
    "seeing": "trial_recipes:Seeing",
    "peeking": "trial_recipes:Peeking",
}


ODD_TRACKERS = {
    "remembering": "odd_trackers:Remembering",
    "hanging_at_open": "odd_trackers:HangingAtOpen",
    "raising": "odd_trackers:Raising",
    "blocking": "odd_trackers:Blocking",
    "dying": "odd_trackers:Dying",
    "shouting": "odd_trackers:Shouting",
    "eating_the_end": "odd_trackers:EatingTheEnd",
    "needing": "needing_tracker:Needing",
    "broken": "no_such_module:Tracker",
}


def register(patch):
    """Register the trial recipes here, and let child processes import them."""
    patch.syspath_prepend(str(RECIPES))
    patch.setenv("PYTHONPATH", str(RECIPES), prepend=os.pathsep)
    patch.setitem(registry.OBJECTIVES, "counting", TRIALS["counting"])
    for name in ("reading", "needs_detectron2", "seeing", "peeking"):
        patch.setitem(registry.TASKS, name, TRIALS[name])


@pytest.fixture(autouse=True)
def trial_recipes(monkeypatch):
    """Register the trial recipes for the test."""
    register(monkeypatch)


@pytest.fixture
def build_suite():
    """Return a function: fields of each row's Counting and of the tasks -> suite."""

    def build(rows=None, tasks=None, seeds=(0,)):
        rows = rows or {"Good": {}}
        tasks = tasks or {"reading": {}}
        return Suite(
            name="trial",
            rows=tuple(made_row(label, "counting", "demo", f) for label, f in rows.items()),
            columns=tuple(Column(task, "demo", fields) for task, fields in tasks.items()),
            seeds=seeds,
        )

    return build


@pytest.fixture
def ground_of(tmp_path):
    """Return a function: suite -> its ground in a store of this test."""
    return lambda suite, **site: survey(suite, Site(store=tmp_path / "runs", **site))


@pytest.fixture
def steps_of():
    """Return a function: store, job -> the steps that were executed, over all attempts."""
    return lambda store, job: [int(n) for n in (store.dir(job) / "steps.txt").read_text().split()]


@pytest.fixture
def python():
    return Path(sys.executable)


@pytest.fixture
def read_json():
    return lambda path: json.loads(path.read_text())


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def lines(self):
        return self.out.splitlines()


@pytest.fixture
def call(capsys, tmp_path):
    """Return a function: words of a command line -> its answer, in this test's store."""

    def call(*words):
        handlers = {number: signal.getsignal(number) for number in STOPS}
        capsys.readouterr()
        try:
            main([*map(str, words), "--store", str(tmp_path / "runs")])
        except SystemExit as end:
            return Answer(end.code, *capsys.readouterr())
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        raise AssertionError("the command line always exits")

    return call


@pytest.fixture
def write_suite(tmp_path):
    """Return a function: fields of each row's Counting and of the tasks -> suite file."""

    def table(name, fields):
        lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
        return "\n".join([name, 'size = "demo"', *lines, ""])

    def write(rows=None, tasks=None, seeds=(0,), name="trial"):
        parts = [f'name = "{name}"', f"seeds = {list(seeds)}"]
        for label, fields in (rows or {"Good": {}}).items():
            parts.append(table(f"[encoders.{json.dumps(label)}]\nrecipe = 'counting'", fields))
        for task, fields in (tasks or {"reading": {}}).items():
            parts.append(table(f"[[tasks]]\nrecipe = '{task}'", fields))
        path = tmp_path / f"{name}.toml"
        path.write_text("\n".join(parts))
        return path

    return write


@pytest.fixture
def odd_trackers(tmp_path, monkeypatch):
    """Install a distribution that brings the odd trackers, for this process and its children."""
    about = tmp_path / "site" / "odd_trackers-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-trackers\nVersion: 1.0\n")
    points = [f"{name} = {target}" for name, target in ODD_TRACKERS.items()]
    (about / "entry_points.txt").write_text("\n".join(["[mae_bench.trackers]", *points, ""]))
    monkeypatch.syspath_prepend(str(about.parent))
    monkeypatch.setenv("PYTHONPATH", str(about.parent), prepend=os.pathsep)


ROWS = {"Good": {}, "Other": {"steps": 6}, "Bad": {"outcome": "raise"}}


@pytest.fixture(scope="session")
def store_of_three(tmp_path_factory):
    """Return a store in which real jobs ran: a good row, one with six steps, one that fails."""
    store = tmp_path_factory.mktemp("three") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        register(patch)
        rows = tuple(made_row(label, "counting", "demo", f) for label, f in ROWS.items())
        suite = Suite("trial", rows, (Column("reading", "demo", {}),), (0,))
        run_jobs(survey(suite, Site(store=store)), 2)
    return store


@pytest.fixture
def three(store_of_three, tmp_path, call, write_suite):
    """Return the keys by row and recipe of a copy of that store, which is this test's."""
    shutil.copytree(store_of_three, tmp_path / "runs")
    jobs = json.loads(call("status", "--suite", write_suite(ROWS), "--json").out)["jobs"]
    return {(one["row"], one["recipe"]): one["key"] for one in jobs}
