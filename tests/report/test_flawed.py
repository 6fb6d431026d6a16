import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mae_bench.report.latex import latex
from mae_bench.report.markdown import leaderboard_text
from mae_bench.report.page.build import page
from mae_bench.report.table import plain
from mae_bench.report.tables import terminal_table
from mae_bench.report.write import write_report
from mae_bench.suite.flaws import flaws_of
from mae_bench.suite.overview import LETTERS, overview, told
from mae_bench.suite.status import View, planned, standings
from mae_bench.suite.wording import result_text

SEEN = "outputs hardly differ: std 0.003 of 1 for evenly spread ones"
TOLD = f"mae, seed 0: {SEEN}"


def note(bench: Any, row: str, recipe: str, **facts: Any) -> None:
    """Put facts into the result of the row's first job of that recipe."""
    job = next(one for one in bench.plan.jobs if (one.row, one.recipe.name) == (row, recipe))
    metrics = {metric.name: 0.5 for metric in job.recipe.metrics}
    made = {"arch": "vit_demo_patch8", "origin": recipe, "params": 807_936, "flops": 52_000_000}
    bench.finish(job, metrics, provenance={"facts": {"encoder": made, **facts}})


@pytest.fixture
def collapsed(filled: Any) -> Any:
    """Return a filled bench whose MAE row has an encoder that collapsed."""
    note(filled, "MAE", "mae", collapsed=SEEN)
    return filled


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, []),
        ({"training": {"skipped_steps": 0, "went_back": 0}}, []),
        ({"training": {"world": 8}}, []),
        ({"collapsed": SEEN}, [f"collapsed: {SEEN}"]),
        (
            {"training": {"skipped_steps": 1, "went_back": 0}},
            ["unstable: 1 step left out, the loss not finite"],
        ),
        (
            {"collapsed": "x", "training": {"skipped_steps": 6, "went_back": 1}},
            [
                "collapsed: x",
                "unstable: 6 steps left out, the loss not finite, went back to a checkpoint",
            ],
        ),
    ],
)
def test_flaws_are_what_a_result_notes(facts: dict[str, Any], said: list[str]) -> None:
    assert list(map(str, flaws_of({"facts": facts}))) == said


def test_results_of_before_have_no_flaws() -> None:
    assert flaws_of({}) == flaws_of({"facts": None}) == ()


def test_the_row_of_a_collapsed_encoder_says_so_in_every_format(
    collapsed: Any, documented: Callable[..., Any], tmp_path: Path
) -> None:
    document = documented(collapsed)
    rows = {row["row"]: row for row in document["rows"]}
    flaw = {"kind": "collapsed", "recipe": "mae", "seed": 0, "text": SEEN}
    assert rows["MAE"]["flaws"] == [flaw]
    assert all("flaws" not in row for name, row in rows.items() if name != "MAE")
    shown = plain(terminal_table(document)).splitlines()
    assert ["collapsed" in line for line in shown] == [line.startswith("MAE") for line in shown]
    text = leaderboard_text(document)
    line = next(one for one in text.splitlines() if one.startswith("| MAE "))
    assert line.split(" | ")[1] == "collapsed"
    assert f"## What went wrong in training\n\n- MAE: collapsed: {TOLD}\n" in text
    (line,) = (one for one in latex(document).splitlines() if one.startswith("MAE & collapsed"))
    assert "81.0" in line
    html = page(document, tmp_path)
    assert html.count(f'title="collapsed: {TOLD}"') == 1
    assert f"<li>collapsed: {TOLD}</li>" in html


def test_a_collapsed_row_keeps_its_numbers(collapsed: Any, documented: Callable[..., Any]) -> None:
    cells = {(cell["row"], cell["task"]): cell for cell in documented(collapsed)["cells"]}
    assert cells["MAE", "imagenet_finetune"]["mean"] == 81.0
    assert cells["MAE", "imagenet_linear"]["mean"] == 61.5


def test_notes_count_the_rows_and_the_terminal_says_it_below_the_table(
    collapsed: Any, tmp_path: Path
) -> None:
    sentence = (
        "1 of 3 rows collapsed in pretraining, and its numbers are of such an encoder: "
        f"MAE ({TOLD})."
    )
    report = write_report(collapsed.plan, collapsed.store, tmp_path / "results" / "trial")
    assert (
        sentence in json.loads((tmp_path / "results/trial/leaderboard.json").read_text())["notes"]
    )
    assert report.main_table.endswith(sentence)


def test_steps_left_out_are_told_of_the_row(filled: Any, documented: Callable[..., Any]) -> None:
    note(filled, "Sup", "imagenet_linear", training={"skipped_steps": 2, "went_back": 0})
    document = documented(filled)
    (flaw,) = next(row["flaws"] for row in document["rows"] if row["row"] == "Sup")
    assert (flaw["kind"], flaw["recipe"]) == ("unstable", "imagenet_linear")
    assert flaw["text"] == "2 steps left out, the loss not finite"


def test_tables_without_flaws_say_nothing_of_them(
    filled: Any, documented: Callable[..., Any], tmp_path: Path
) -> None:
    document = documented(filled)
    texts = [json.dumps(document), leaderboard_text(document), latex(document)]
    for text in [*texts, page(document, tmp_path)]:
        assert not any(word in text for word in ("flaw", "collapsed", "unstable", "went wrong"))


def test_status_tells_of_the_collapse_behind_the_finished_job(collapsed: Any) -> None:
    bench = collapsed
    stands = list(standings(planned(bench.plan), View(bench.store, {}, {})).values())
    (hit,) = (one for one in stands if one.flaws)
    assert (hit.entry.row, hit.entry.recipe) == ("MAE", "mae")
    lines = overview(stands, bench.plan, 200, LETTERS)
    assert [line.endswith(f"collapsed: {SEEN}") for line in lines].count(True) == 1
    jobs = told(stands, "trial", "runs", [])["jobs"]
    assert [job["flaws"] for job in jobs if job["flaws"]] == [[{"kind": "collapsed", "text": SEEN}]]
    job = next(one for one in bench.plan.jobs if one.key == hit.entry.key)
    assert result_text(job, bench.store.result(job)).endswith(f"; collapsed: {SEEN}")
