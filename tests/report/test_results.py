import doctest
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import mae_bench
from mae_bench.report import leaderboard as of_board
from mae_bench.report import results as of_results
from mae_bench.report.frame import COLUMNS, long_frame
from mae_bench.suite.suite import Column, made_row

ROOT = Path(__file__).parents[2]
FINETUNE, LINEAR = "imagenet_finetune", "imagenet_linear"


def test_all_results_of_a_store_are_those_of_its_suite(stored: Any) -> None:
    found = mae_bench.load_results(stored.store.root)
    planned = long_frame(stored.plan, stored.store)
    assert tuple(found.columns) == COLUMNS
    order = ["key", "metric"]
    columns = [*order, "row", "arch", "origin", "seed", "value", "variant", "encoder_epochs"]
    tasks = planned["row"].ne("Sup") | planned["task"].ne(FINETUNE)  # an own cell of a suite
    pd.testing.assert_frame_equal(
        found[found["task"] != "supervised"][columns].sort_values(order, ignore_index=True),
        planned[tasks][columns].sort_values(order, ignore_index=True),
    )
    own = found[found["task"] == "supervised"]
    assert list(own["value"]) == [76.0, 77.0] and set(own["title"]) == {"top-1"}


def test_the_board_of_a_store_is_that_of_its_suite(stored: Any) -> None:
    names = ["row", "task", "metric", "mean", "low", "high", "delta_random", "best"]
    boards = [
        mae_bench.leaderboard(frame)
        for frame in (
            mae_bench.load_results(stored.store.root),
            long_frame(stored.plan, stored.store),
        )
    ]
    one, other = (
        board[board["task"] == LINEAR][names].sort_values("row", ignore_index=True)
        for board in boards
    )
    pd.testing.assert_frame_equal(one, other)


def test_an_edited_result_and_one_of_another_version_stay_out(
    stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = stored.jobs("MAE", LINEAR)[0]
    path = stored.store.dir(job) / "result.json"
    path.write_text(path.read_text().replace(job.key, "0" * 16))
    assert job.key not in set(mae_bench.load_results(stored.store.root)["key"])
    monkeypatch.setattr(type(job.recipe), "version", type(job.recipe).version + 1)
    assert LINEAR not in set(mae_bench.load_results(stored.store.root)["task"])


def test_settings_and_encoders_of_one_label_never_share_a_mean(bench: Callable[..., Any]) -> None:
    rand = made_row("Rand", "random_init", "demo", {})
    rows = [(made_row("MAE", "mae", "demo", {"epochs": n}), rand) for n in (13, 15)]
    for pair, epochs, value in ((rows[0], 2, 50.0), (rows[0], 4, 60.0), (rows[1], 4, 70.0)):
        one = bench(pair, (Column(LINEAR, "demo", {"epochs": epochs}),))
        for row in pair:
            one.fill(row.label, LINEAR, value, value + 1)
        for job in one.plan.jobs:
            one.store.prepare(job, None)
    found = mae_bench.leaderboard(mae_bench.load_results(one.store.root))
    lines = found.set_index(["row", "variant"])["mean"].to_dict()
    usual = "image size 64"
    assert lines == {
        ("MAE (epochs 13)", f"{usual}, epochs 2"): 50.5,
        ("MAE (epochs 13)", f"{usual}, epochs 4"): 60.5,
        ("MAE (epochs 15)", f"{usual}, epochs 4"): 70.5,
        ("Rand", f"{usual}, epochs 2"): 50.5,
        ("Rand", f"{usual}, epochs 4"): 70.5,
    }
    assert set(found["n"]) == {2}


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no store .*nowhere; pass the folder"):
        mae_bench.load_results(tmp_path / "nowhere")
    assert mae_bench.load_results(tmp_path).empty


def test_an_empty_store_has_an_empty_board(tmp_path: Path) -> None:
    assert mae_bench.leaderboard(mae_bench.load_results(tmp_path)).empty


def test_importing_the_package_loads_no_pandas() -> None:
    code = "import mae_bench, sys; print('pandas' in sys.modules, mae_bench.leaderboard.__name__)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "False leaderboard\n"


def test_the_examples_of_the_docs_are_true(stored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stored.store.root.parent)
    assert stored.store.root.name == "runs"
    document = doctest.testfile(str(ROOT / "docs" / "python.md"), module_relative=False)
    modules = [doctest.testmod(module) for module in (of_results, of_board)]
    for found in (document, *modules):
        assert found.attempted > 0 and found.failed == 0
