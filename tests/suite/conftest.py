import json
import sys
from pathlib import Path

import pytest

from mae_bench.core import registry
from mae_bench.core.site import Site
from mae_bench.suite.preflight import survey
from mae_bench.suite.suite import Column, Suite, made_row

RECIPES = Path(__file__).parent / "recipes"
TRIALS = {
    "counting": "trial_recipes:Counting",
    "reading": "trial_recipes:Reading",
    "needs_detectron2": "trial_recipes:NeedsDetectron2",
    "seeing": "trial_recipes:Seeing",
    "peeking": "trial_recipes:Peeking",
}


@pytest.fixture(autouse=True)
def trial_recipes(monkeypatch):
    """Register the trial recipes here, and let child processes import them."""
    monkeypatch.syspath_prepend(str(RECIPES))
    monkeypatch.setenv("PYTHONPATH", str(RECIPES))
    monkeypatch.setitem(registry.OBJECTIVES, "counting", TRIALS["counting"])
    for name in ("reading", "needs_detectron2", "seeing", "peeking"):
        monkeypatch.setitem(registry.TASKS, name, TRIALS[name])


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
