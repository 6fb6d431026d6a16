import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mae_bench.core.files import json_text
from mae_bench.report.frame import long_frame
from mae_bench.report.leaderboard import leaderboard
from mae_bench.report.markdown import leaderboard_text
from mae_bench.report.table import Cell, Table, escaped, plain
from mae_bench.report.write import command, write_report
from mae_bench.suite.plan import plan
from mae_bench.suite.presets import full, smoke
from mae_bench.suite.suite import Column, made_row
from mae_bench.suite.tiers import at_tier

LINEAR, COCO = "imagenet_linear", "coco_vitdet"
NASTY = "<script>alert(1)</script> | *x* `y`"


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_all_files_are_written_and_nothing_is_left_beside(filled: Any, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "trial"
    paths = write_report(filled.plan, filled.store, folder).paths
    tables = ["leaderboard.md", "leaderboard.tex", "leaderboard.json", "index.html"]
    tables += ["leaderboard.csv", "long.csv", "long.parquet"]
    assert [path.name for path in paths][: len(tables)] == tables
    assert {path.parent for path in paths[len(tables) :]} == {folder / "figures"}
    shown = [str(path.relative_to(tmp_path / "results")) for path in paths]
    assert names(tmp_path / "results") == sorted([*shown, "README.md"])
    for path in (*paths, tmp_path / "results" / "README.md"):
        assert str(tmp_path).encode() not in path.read_bytes()
    frame = long_frame(filled.plan, filled.store)
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "long.parquet"), frame)


def test_the_same_store_gives_the_same_bytes(one: Any, tmp_path: Path) -> None:
    made = []
    for place in ("here", "there"):
        write_report(one.plan, one.store, tmp_path / place / "trial")
        folder = tmp_path / place
        made.append({name: (folder / name).read_bytes() for name in names(folder)})
    assert made[0] == made[1] and len(made[0]) > 8


def test_csv_round_trips_to_the_same_numbers(filled: Any, tmp_path: Path) -> None:
    (filled.store.dir(filled.jobs("MAE", LINEAR)[0]) / "result.json").unlink()
    write_report(filled.plan, filled.store, tmp_path / "trial")
    frame = long_frame(filled.plan, filled.store)
    read = pd.read_csv(tmp_path / "trial/long.csv", float_precision="round_trip")
    pd.testing.assert_series_equal(read["value"], frame["value"], check_exact=True)
    again = pd.read_csv(tmp_path / "trial/leaderboard.csv", float_precision="round_trip")
    numbers = ["n", "m", "mean", "sd", "delta_supervised", "delta_random"]
    pd.testing.assert_frame_equal(again[numbers], leaderboard(frame)[numbers], check_exact=True)


def test_json_has_null_for_a_blank_and_the_key_of_every_number(
    filled: Any, documented: Any
) -> None:
    gone, kept = filled.jobs("MAE", LINEAR)
    (filled.store.dir(gone) / "result.json").unlink()

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    content = json.loads(json_text(documented(filled)), parse_constant=refuse)
    cell = next(c for c in content["cells"] if (c["row"], c["task"]) == ("MAE", LINEAR))
    assert (cell["n"], cell["m"], cell["mean"], cell["sd"]) == (1, 2, None, None)
    assert [(n["key"], n["value"], n["state"]) for n in cell["numbers"]] == [
        (gone.key, None, "interrupted"),
        (kept.key, 63.0, "done"),
    ]
    assert [job["key"] for job in content["jobs"]] == [job.key for job in filled.plan.jobs]


def test_json_has_a_column_and_a_row_for_every_cell(filled: Any, documented: Any) -> None:
    content = documented(filled)
    columns = [column["id"] for column in content["columns"]]
    rows = [row["row"] for row in content["rows"]]
    places = [(cell["row"], cell["column"]) for cell in content["cells"]]
    assert len(set(columns)) == len(columns) and len(set(rows)) == len(rows)
    assert sorted(places) == sorted(itertools.product(rows, columns))
    assert set(content) == {
        "schema",
        "suite",
        "command",
        "explanation",
        "notes",
        "columns",
        "rows",
        "cells",
        "jobs",
        "efficiency",
        "rank_agreement",
        "figures",
    }


def test_markdown_shows_the_hole_and_its_reason(filled: Any, documented: Any) -> None:
    job = filled.jobs("MAE", COCO)[0]
    (filled.store.dir(job) / "result.json").unlink()
    filled.fail(job, "RuntimeError: boom <b>")
    text = leaderboard_text(documented(filled))
    line = next(line for line in text.splitlines() if line.startswith("| MAE |"))
    assert [part.strip() for part in line.split("|")][5:7] == ["0/1", "0/1"]
    assert "failed: RuntimeError: boom &lt;b&gt;" in text


def test_a_label_cannot_break_a_markdown_table(bench: Callable[..., Any], documented: Any) -> None:
    nasty = bench((made_row(NASTY, "mae", "demo", {}),), (Column(LINEAR, "demo"),))
    text = leaderboard_text(documented(nasty))
    assert "<script" not in text
    head, rule, line = [row for row in text.splitlines() if row.startswith("|")][:3]
    bars = [row.replace("\\|", "").count("|") for row in (head, rule, line)]
    assert bars == [7, 7, 7]


def test_the_best_are_bold(filled: Any, documented: Any) -> None:
    content = documented(filled)
    for cell in content["cells"]:
        cell["best"] = (cell["row"], cell["task"]) == ("Sup", LINEAR)
    main = leaderboard_text(content).split("\n\n")[1]
    assert re.findall(r"\*\*.*?\*\*", main) == ["**62.2 ± 0.4**"]


def test_the_page_of_all_suites_is_made_of_what_lies_there(one: Any, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "leaderboard.json").write_text('{"schema": 1}')
    write_report(one.plan, one.store, tmp_path / "trial")
    (tmp_path / "again").mkdir()
    copied = (tmp_path / "trial" / "leaderboard.json").read_text()
    (tmp_path / "again" / "leaderboard.json").write_text(copied.replace('"trial"', '"again"'))
    write_report(one.plan, one.store, tmp_path / "trial")
    text = (tmp_path / "README.md").read_text()
    assert [line for line in text.splitlines() if line[:3] == "## "] == ["## again", "## trial"]


@pytest.mark.parametrize("content", ['{"schema": 2}', '{"schema": 2, "suite": 1}', "[", "[1]"])
def test_tables_that_are_not_ours_are_left_out_of_the_page_and_named(
    one: Any, tmp_path: Path, content: str
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "leaderboard.json").write_text(content)
    report = write_report(one.plan, one.store, tmp_path / "trial")
    assert "other" not in (tmp_path / "README.md").read_text()
    assert "other/leaderboard.json is no leaderboard that can be read" in report.main_table


def test_somebody_elses_page_is_left_as_it_is(one: Any, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# My paper")
    report = write_report(one.plan, one.store, tmp_path / "trial")
    assert (tmp_path / "README.md").read_text() == "# My paper"
    assert report.main_table.splitlines()[-1].endswith("so it is left as it is")


def test_escaping_shows_every_character_as_it_is() -> None:
    assert escaped(r"a\|b_c*d`e<f>&g[h]~" + "\ni") == (
        r"a\\\|b\_c\*d\`e&lt;f&gt;&amp;g\[h\]\~" + " i"
    )


def test_pictures_of_the_mae_row_are_copied_and_stale_ones_deleted(
    filled: Any, tmp_path: Path
) -> None:
    for row, content in (("MAE", b"mae"), ("Rand", b"rand")):
        folder = filled.store.dir(filled.jobs(row, COCO)[0]) / "figures"
        folder.mkdir()
        (folder / "detections.png").write_bytes(content)
    stale = tmp_path / "trial" / "figures" / "segmentations.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of an earlier run")
    paths = write_report(filled.plan, filled.store, tmp_path / "trial").paths
    picture = tmp_path / "trial" / "figures" / "detections.png"
    assert picture in paths and picture.read_bytes() == b"mae"
    assert not stale.exists()
    text = (tmp_path / "trial" / "leaderboard.md").read_text()
    assert "](figures/detections.png)" in text and "](figures/detections.csv)" in text


def test_pictures_of_a_job_without_a_result_are_not_shown(one: Any, tmp_path: Path) -> None:
    folder = one.store.dir(one.jobs("MAE", COCO)[0])
    (folder / "result.json").unlink()
    (folder / "figures").mkdir()
    (folder / "figures" / "detections.png").write_bytes(b"half")
    paths = write_report(one.plan, one.store, tmp_path / "trial").paths
    assert not [path for path in paths if path.name == "detections.png"]


def test_the_command_names_a_preset_only_if_it_is_that_preset(filled: Any) -> None:
    assert command(plan(smoke(), {})) == "mae-bench run --suite smoke"
    assert command(filled.plan) == "mae-bench run --suite trial.toml"
    lite = plan(at_tier(full(), "lite"), {})
    assert command(lite) == "mae-bench run --suite full --tier lite"


def test_the_terminal_table_is_aligned_and_stars_the_best() -> None:
    lines = ((Cell("A"), Cell("9.5")), (Cell("Long name"), Cell("10.5 ± 1.0", best=True)))
    assert plain(Table(("Encoder", "AP"), lines, "lr")).splitlines() == [
        "Encoder             AP",
        "A                  9.5",
        "Long name  10.5 ± 1.0*",
    ]


def test_an_empty_full_suite_is_all_holes_and_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from mae_bench.report.write import write_report\n"
        "from mae_bench.suite.plan import plan\n"
        "from mae_bench.suite.presets import full\n"
        "from mae_bench.suite.store import Store\n"
        "write_report(plan(full(), {}), Store(Path('runs')), Path('tables/out'))\n"
        "sys.exit(bool({'torch', 'timm'} & set(sys.modules)))"
    )
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": root},
        check=False,
        timeout=120,
    )
    assert done.returncode == 0
    rows = pd.read_csv(StringIO((tmp_path / "tables" / "out" / "leaderboard.csv").read_text()))
    assert (rows["m"] == rows["task"].map({"imagenet_finetune": 3}).fillna(1)).sum() == 60
    assert rows["mean"].isna().all()


def test_neither_locale_nor_time_zone_nor_folder_changes_a_byte(tmp_path: Path) -> None:
    root = str(Path(__file__).resolve().parents[2])
    ascii_only = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    places = {
        "one": {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "1", "PYTHONUTF8": "1"},
        "other": {"TZ": "America/New_York", "PYTHONHASHSEED": "2", **ascii_only},
    }
    command = [sys.executable, "-m", "mae_bench", "report", "--suite", "full", "--results", "t"]
    for place, variables in places.items():
        (tmp_path / place / "runs").mkdir(parents=True)
        done = subprocess.run(
            command,
            cwd=tmp_path / place,
            env=os.environ | {"PYTHONPATH": root, **variables},
            check=False,
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
    first, second = (
        {
            name: (tmp_path / place / "t" / name).read_bytes()
            for name in names(tmp_path / place / "t")
        }
        for place in places
    )
    assert first == second and "full/index.html" in first
