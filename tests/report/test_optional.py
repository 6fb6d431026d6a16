import math
from typing import Any

import pytest

from mae_bench.core.recipe import Metric
from mae_bench.report.frame import job_frame, long_frame
from mae_bench.report.leaderboard import leaderboard
from mae_bench.report.notes import holes, notes
from mae_bench.report.tables import main_tables
from mae_bench.suite.store import check_metrics
from mae_bench.suite.suite import Column, made_row
from mae_bench.suite.wording import result_text

PARTIAL = "imagenet_partial"
MADE = {"top1_0": 50.0, "top1_0p5": 55.0, "top1_all": 60.0}
"""What an encoder of one block gives: 1 and more do not exist."""
METRICS = (Metric("a", "a"), Metric("b", "b", optional=True))


@pytest.fixture
def measured(bench: Any) -> Any:
    """Return a bench whose MAE row is measured and whose random row is not."""
    rows = (made_row("MAE", "mae", "demo", {}), made_row("Rand", "random_init", "demo", {}))
    made = bench(rows, (Column(PARTIAL, "demo"),))
    for seed, job in enumerate(made.jobs("MAE", PARTIAL)):
        made.finish(job, {name: value + seed for name, value in MADE.items()})
    return made


def test_a_metric_that_does_not_exist_is_an_empty_cell_and_never_0(
    measured: Any, documented: Any
) -> None:
    (table,) = main_tables(documented(measured)).values()
    mae, rand = ([cell.text for cell in line[2:11]] for line in table.lines)
    assert mae == ["50.5 ± 0.7", "55.5 ± 0.7", *[""] * 6, "60.5 ± 0.7"]
    assert rand == ["0/2"] * 9


def test_it_is_no_hole_and_nothing_is_said_of_it(measured: Any) -> None:
    frame = long_frame(measured.plan, measured.store)
    for job in measured.jobs("Rand", PARTIAL):
        measured.finish(job, MADE)
    full = long_frame(measured.plan, measured.store)
    assert [line.split(" in ")[0] for line in holes(frame)] == ["No number for Rand"]
    assert holes(full) == []
    against = notes(leaderboard(full))[0]
    assert against.count(" top-1 (") == len(MADE) and "not compared" not in against
    assert set(full[full["value"].isna()]["state"]) == {"not measured"}


def test_a_seed_that_is_not_run_still_counts_as_missing(measured: Any) -> None:
    (first, _) = measured.jobs("Rand", PARTIAL)
    measured.finish(first, MADE)
    board = leaderboard(long_frame(measured.plan, measured.store)).set_index(["row", "metric"])
    assert tuple(board.loc[("Rand", "top1_0"), ["n", "m"]]) == (1, 2)
    assert math.isnan(board.loc[("Rand", "top1_0"), "mean"])
    assert tuple(board.loc[("Rand", "top1_12"), ["n", "m"]]) == (0, 1)


def test_texts_of_a_result_name_what_is_there(measured: Any) -> None:
    job = measured.jobs("MAE", PARTIAL)[0]
    text = result_text(job, measured.store.result(job))
    assert text.startswith("partial 0 top-1 50.0%, partial 0.5 top-1 55.0%, partial all top-1 60")
    jobs = job_frame(measured.plan, measured.store).set_index("key")
    assert jobs.loc[job.key, "numbers"].count("partial") == 3


@pytest.mark.parametrize("values", [{"b": 1.0}, {"a": 1.0, "c": 2.0}, {}])
def test_what_is_not_optional_must_be_there_and_nothing_else(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"metrics must be \['a'\] and may be \['b'\], got"):
        check_metrics(values, METRICS)


def test_optional_metrics_are_checked_where_they_are_and_cannot_all_be_absent() -> None:
    check_metrics({"a": 1.0}, METRICS)
    with pytest.raises(ValueError, match="metric b must be finite"):
        check_metrics({"a": 1.0, "b": math.nan}, METRICS)
    with pytest.raises(ValueError, match=r"may be \['b'\], got \[\]"):
        check_metrics({}, METRICS[1:])
    check_metrics({}, ())
