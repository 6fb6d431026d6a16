from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from mae_bench.report.agreement import agreements, rank_agreement, tier_agreement
from mae_bench.report.frame import long_frame
from mae_bench.report.leaderboard import leaderboard
from mae_bench.suite.plan import plan
from mae_bench.suite.suite import Column, made_row
from mae_bench.suite.tiers import at_tier, other_tiers

FINETUNE, LINEAR = "imagenet_finetune", "imagenet_linear"
FINE = (84.0, 82.0, 83.0, 81.0, 83.0)
PROBE = (70.0, 71.0, 69.0, 60.0, 65.0)


@pytest.fixture
def five(bench: Callable[..., Any]) -> Any:
    """Return five encoders with both accuracies."""
    rows = tuple(made_row(f"E{i}", "mae", "demo", {"epochs": 10 + i}) for i in range(5))
    found = bench(rows, (Column(FINETUNE, "demo"), Column(LINEAR, "demo")))
    for row, fine, probe in zip(rows, FINE, PROBE, strict=True):
        found.fill(row.label, FINETUNE, fine, fine)
        found.fill(row.label, LINEAR, probe, probe)
    return found


def board(bench: Any) -> pd.DataFrame:
    return leaderboard(long_frame(bench.plan, bench.store))


def test_two_columns_agree_as_scipy_finds(five: Any) -> None:
    lines = rank_agreement(board(five)).to_dict("records")
    assert len(lines) == 1
    one = lines[0]
    assert (one["one"], one["other"], one["n"]) == (
        f"{FINETUNE}.top1.image size 64",
        f"{LINEAR}.top1.image size 64",
        5,
    )
    assert one["spearman"] == pytest.approx(stats.spearmanr(FINE, PROBE).statistic, abs=1e-12)
    assert one["kendall"] == pytest.approx(stats.kendalltau(FINE, PROBE).statistic, abs=1e-12)


def test_lower_is_ranked_first_where_lower_is_better(five: Any) -> None:
    whole = board(five)
    turned = whole.assign(higher_is_better=whole["task"] != LINEAR)
    one, other = rank_agreement(whole), rank_agreement(turned)
    assert other["kendall"].iloc[0] == pytest.approx(-one["kendall"].iloc[0])
    assert other["spearman"].iloc[0] == pytest.approx(-one["spearman"].iloc[0])


def test_only_rows_with_both_numbers_count_and_two_are_too_few(five: Any) -> None:
    for row in ("E0", "E1"):
        (five.store.dir(five.jobs(row, LINEAR)[0]) / "result.json").unlink()
    line = rank_agreement(board(five)).iloc[0]
    assert line["n"] == 3
    assert line["kendall"] == pytest.approx(stats.kendalltau(FINE[2:], PROBE[2:]).statistic)
    (five.store.dir(five.jobs("E2", FINETUNE)[0]) / "result.json").unlink()
    assert rank_agreement(board(five)).empty


def test_a_tier_is_compared_with_the_same_columns_of_another(five: Any) -> None:
    suite = five.plan.suite
    quick = type(suite)(
        suite.name, suite.rows, suite.columns, suite.seeds, suite.demo_data,
        {"quick": {LINEAR: {"epochs": 3}}},
    )  # fmt: skip
    whole = plan(quick, {"imagenet": "data"})
    (other,) = other_tiers(whole)
    assert other.suite == at_tier(quick, "quick")
    assert [one.suite.tier for one in other_tiers(other)] == ["full"]
    short = type(five)(other, five.store)
    assert len(agreements(board(five), whole, five.store)) == 2  # fine-tuning is the same jobs
    for i, probe in enumerate((50.0, 40.0, 45.0, 30.0, 35.0)):
        short.fill(f"E{i}", LINEAR, probe, probe)
    lines = agreements(board(five), whole, five.store).set_index("other")
    name = f"{LINEAR}.top1.image size 64"
    assert lines.loc[f"{name} (quick)", "one"] == name
    exact = stats.spearmanr(PROBE, (50.0, 40.0, 45.0, 30.0, 35.0)).statistic
    assert lines.loc[f"{name} (quick)", "spearman"] == pytest.approx(exact)
    same = tier_agreement(board(five), board(five), "again")
    assert (same["kendall"] == 1.0).all() and len(same) == 2
