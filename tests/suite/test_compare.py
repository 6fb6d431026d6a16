import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mae_bench.core.job import Job
from mae_bench.core.registry import load
from mae_bench.suite.store import Store, sealed

PROGRAM = Path(sys.executable).with_name("mae-bench")
TOP1 = {"MAE": (60.0, 60.2), "Rand": (50.0, 50.1)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store with two seeds of a probe of two encoders."""
    found = Store(tmp_path / "runs")
    for row, values in TOP1.items():
        maker = Job(row, load("mae" if row == "MAE" else "random_init").demo(), 0, "")
        for seed, value in enumerate(values):
            job = Job(row, load("imagenet_linear").demo(), seed, "data", maker)
            result = {"schema": 2, "key": job.key, "metrics": {"top1": value}, "seconds": 1.0}
            folder = found.prepare(job, None)
            (folder / "result.json").write_text(json.dumps(sealed(result | {"provenance": {}})))
    return found


def compare(store: Store, *words: str) -> subprocess.CompletedProcess[str]:
    command = [PROGRAM, "compare", *words, "--store", store.root]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_difference_its_interval_and_the_seeds_to_settle_it_are_said(store: Store) -> None:
    answer = compare(store, "MAE", "Rand")
    assert answer.returncode == 0, answer.stderr
    head, line = answer.stdout.splitlines()
    assert head == "MAE less Rand: 95 % intervals, p corrected for 1 test (Holm)"
    assert line.startswith("linear top-1 (+10.1 points, +9.")
    # sd = sqrt((0.02 + 0.005) / 2) = 0.11; two seeds a side are the fewest that have a spread
    assert line.endswith(": better; 2 seeds a side find it (measured sd 0.11)")
    turned = compare(store, "Rand", "MAE").stdout
    assert "(−10.1 points, −" in turned and ": worse; 2 seeds" in turned


def test_jobs_are_compared_by_their_keys(store: Store) -> None:
    keys = sorted(path.parent.name for path in store.root.glob("*/result.json"))
    words = [key[:6] for key in keys]
    told = json.loads(compare(store, *words[:2], "--json").stdout)
    values = {
        path.parent.name: json.loads(path.read_text())["metrics"]["top1"]
        for path in store.root.glob("*/result.json")
    }
    (column,) = told["columns"]
    assert column["difference"] == pytest.approx(values[keys[0]] - values[keys[1]])
    assert (column["p"], column["seeds_needed"], column["settled"]) == (None, None, False)


def test_keys_of_jobs_of_other_settings_are_said_to_be_so(store: Store) -> None:
    maker = Job("MAE", load("mae").demo(), 0, "")
    keys = []
    for size in (64, 96):
        recipe = dataclasses.replace(load("imagenet_linear").demo(), image_size=size)
        job = Job("MAE", recipe, 5, "data", maker)
        result = {"schema": 2, "key": job.key, "metrics": {"top1": 61.0}, "seconds": 1.0}
        folder = store.prepare(job, None)
        (folder / "result.json").write_text(json.dumps(sealed(result | {"provenance": {}})))
        keys.append(job.key[:8])
    last = compare(store, *keys).stdout.splitlines()[-1]
    assert last.startswith("Their settings differ, so these are not numbers of one protocol: ")
    assert "image size 64" in last and "image size 96" in last
    assert "settings" not in compare(store, keys[0], keys[0]).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["MEA", "Rand"], "unknown row or job 'MEA'; did you mean 'MAE'?"),
        (["MAE", "Rand", "--task", "imagenet_liner"], "did you mean 'imagenet_linear'?"),
        (["MAE", "Rand", "--suite", "smoke"], "unknown row or job 'Rand'; did you mean 'Random"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    store: Store, words: list[str], message: str
) -> None:
    answer = compare(store, *words)
    assert answer.returncode == 2 and message in answer.stderr
