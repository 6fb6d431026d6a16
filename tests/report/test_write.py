import json
import os
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from mae_bench.report.frame import long_frame
from mae_bench.report.leaderboard import leaderboard
from mae_bench.report.table import Cell, Table, escaped, markdown, plain
from mae_bench.report.write import command, write_report
from mae_bench.suite.plan import plan
from mae_bench.suite.presets import full, smoke
from mae_bench.suite.suite import Column, made_row
from mae_bench.suite.tiers import at_tier

LINEAR, COCO = "imagenet_linear", "coco_vitdet"
NASTY = "<script>alert(1)</script> | *x* `y`"


class Elements(HTMLParser):
    """Collects tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_all_files_are_written_and_nothing_is_left_beside(filled: Any, tmp_path: Path) -> None:
    paths = write_report(filled.plan, filled.store, tmp_path / "out").paths
    names = ["leaderboard.md", "leaderboard.csv", "leaderboard.json", "index.html"]
    assert [path.name for path in paths] == [*names, "long.csv"]
    assert sorted((tmp_path / "out").iterdir()) == sorted(paths)


def test_the_same_store_gives_the_same_bytes(filled: Any, tmp_path: Path) -> None:
    one = write_report(filled.plan, filled.store, tmp_path / "one").paths
    other = write_report(filled.plan, filled.store, tmp_path / "other").paths
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in other]


def test_csv_round_trips_to_the_same_numbers(filled: Any, tmp_path: Path) -> None:
    (filled.store.dir(filled.jobs("MAE", LINEAR)[0]) / "result.json").unlink()
    write_report(filled.plan, filled.store, tmp_path)
    frame = long_frame(filled.plan, filled.store)
    read = pd.read_csv(tmp_path / "long.csv", float_precision="round_trip")
    pd.testing.assert_series_equal(read["value"], frame["value"], check_exact=True)
    again = pd.read_csv(tmp_path / "leaderboard.csv", float_precision="round_trip")
    numbers = ["n", "m", "mean", "sd", "delta_supervised", "delta_random"]
    pd.testing.assert_frame_equal(again[numbers], leaderboard(frame)[numbers], check_exact=True)


def test_json_has_null_for_a_blank_and_the_key_of_every_number(filled: Any, tmp_path: Path) -> None:
    gone, kept = filled.jobs("MAE", LINEAR)
    (filled.store.dir(gone) / "result.json").unlink()
    write_report(filled.plan, filled.store, tmp_path)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    text = (tmp_path / "leaderboard.json").read_text()
    content = json.loads(text, parse_constant=refuse)
    cell = next(c for c in content["cells"] if (c["row"], c["task"]) == ("MAE", LINEAR))
    assert (cell["n"], cell["m"], cell["mean"], cell["sd"]) == (1, 2, None, None)
    assert [(n["key"], n["value"], n["state"]) for n in cell["numbers"]] == [
        (gone.key, None, "interrupted"),
        (kept.key, 63.0, "done"),
    ]
    assert [job["key"] for job in content["jobs"]] == [job.key for job in filled.plan.jobs]


def test_markdown_and_page_show_the_hole_and_its_reason(filled: Any, tmp_path: Path) -> None:
    job = filled.jobs("MAE", COCO)[0]
    (filled.store.dir(job) / "result.json").unlink()
    filled.fail(job, "RuntimeError: boom <b>")
    write_report(filled.plan, filled.store, tmp_path)
    text = (tmp_path / "leaderboard.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("| MAE |"))
    assert [part.strip() for part in line.split("|")][4:6] == ["0/1", "0/1"]
    assert "failed: RuntimeError: boom &lt;b&gt;" in text
    found = Elements((tmp_path / "index.html").read_text())
    assert "failed: RuntimeError: boom <b>" in found.text
    assert "b" not in [tag for tag, _ in found.tags]


def test_a_label_cannot_break_out_of_the_page(bench: Callable[..., Any], tmp_path: Path) -> None:
    nasty = bench((made_row(NASTY, "mae", "demo", {}),), (Column(LINEAR, "demo"),))
    nasty.fill(NASTY, LINEAR, 50.0, 51.0)
    write_report(nasty.plan, nasty.store, tmp_path)
    found = Elements((tmp_path / "index.html").read_text())
    assert "script" not in [tag for tag, _ in found.tags]
    assert NASTY in found.text


def test_a_label_cannot_break_a_markdown_table(bench: Callable[..., Any], tmp_path: Path) -> None:
    nasty = bench((made_row(NASTY, "mae", "demo", {}),), (Column(LINEAR, "demo"),))
    write_report(nasty.plan, nasty.store, tmp_path)
    text = (tmp_path / "leaderboard.md").read_text()
    assert "<script" not in text
    head, rule, line = [row for row in text.splitlines() if row.startswith("|")][:3]
    bars = [row.replace("\\|", "").count("|") for row in (head, rule, line)]
    assert bars == [6, 6, 6]


def test_escaping_shows_every_character_as_it_is() -> None:
    assert escaped(r"a\|b_c*d`e<f>&g[h]~" + "\ni") == (
        r"a\\\|b\_c\*d\`e&lt;f&gt;&amp;g\[h\]\~" + " i"
    )


def test_the_page_needs_no_script_and_nothing_from_elsewhere(filled: Any, tmp_path: Path) -> None:
    write_report(filled.plan, filled.store, tmp_path)
    html = (tmp_path / "index.html").read_text()
    found = Elements(html)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in found.tags}
    assert "http:" not in html and "https:" not in html and "//" not in html
    policy = next(a for t, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == (
        "default-src 'none'; img-src 'self' data: file:; style-src 'unsafe-inline'"
    )


def test_every_number_of_the_page_leads_to_its_job(filled: Any, tmp_path: Path) -> None:
    write_report(filled.plan, filled.store, tmp_path)
    tags = Elements((tmp_path / "index.html").read_text()).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert ids == [f"job-{job.key}" for job in filled.plan.jobs]
    links = [a for tag, a in tags if tag == "a" and str(a["href"]).startswith("#")]
    assert len(links) == 3 * 4
    assert {str(link["href"])[1:] for link in links} <= set(ids)
    first, second = filled.jobs("MAE", LINEAR)
    assert f"job {first.key}, {second.key}" in [link["title"] for link in links]


def test_the_best_are_bold_in_both(filled: Any, tmp_path: Path) -> None:
    for row, values in {"MAE": (60.0, 60.1), "Sup": (62.0, 62.5), "Rand": (2.0, 2.1)}.items():
        filled.fill(row, LINEAR, *values)
    write_report(filled.plan, filled.store, tmp_path)
    text = (tmp_path / "leaderboard.md").read_text()
    assert text.count("**62.2 ± 0.4**") == 1 and "**2.0" not in text
    tags = Elements((tmp_path / "index.html").read_text()).tags
    assert sum("best" in str(a.get("class", "")).split() for _, a in tags) == 2


def test_pictures_of_the_mae_row_are_copied_and_stale_ones_deleted(
    filled: Any, tmp_path: Path
) -> None:
    for row, content in (("MAE", b"mae"), ("Rand", b"rand")):
        folder = filled.store.dir(filled.jobs(row, COCO)[0]) / "figures"
        folder.mkdir()
        (folder / "detections.png").write_bytes(content)
    stale = tmp_path / "figures" / "segmentations.png"
    stale.parent.mkdir()
    stale.write_bytes(b"of an earlier run")
    paths = write_report(filled.plan, filled.store, tmp_path).paths
    assert paths[-1] == tmp_path / "figures" / "detections.png"
    assert paths[-1].read_bytes() == b"mae"
    assert not stale.exists()
    assert "](figures/detections.png)" in (tmp_path / "leaderboard.md").read_text()
    tags = Elements((tmp_path / "index.html").read_text()).tags
    assert [a["src"] for tag, a in tags if tag == "img"] == ["figures/detections.png"]


def test_pictures_of_a_job_without_a_result_are_not_shown(filled: Any, tmp_path: Path) -> None:
    folder = filled.store.dir(filled.jobs("MAE", COCO)[0])
    (folder / "result.json").unlink()
    (folder / "figures").mkdir()
    (folder / "figures" / "detections.png").write_bytes(b"half")
    paths = write_report(filled.plan, filled.store, tmp_path).paths
    assert not [path for path in paths if path.suffix == ".png"]


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


def test_headings_of_groups_are_joined_in_markdown() -> None:
    table = Table(
        ("E", "− a", "− b"), ((Cell("x"), Cell("1"), Cell("2")),), "lrr", (("", 1), ("T", 2))
    )
    assert markdown(table) == "| E | T − a | T − b |\n| --- | ---: | ---: |\n| x | 1 | 2 |"


def test_an_empty_full_suite_is_all_holes_and_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from mae_bench.report.write import write_report\n"
        "from mae_bench.suite.plan import plan\n"
        "from mae_bench.suite.presets import full\n"
        "from mae_bench.suite.store import Store\n"
        "write_report(plan(full(), {}), Store(Path('runs')), Path('out'))\n"
        "sys.exit(bool({'torch', 'timm', 'matplotlib'} & set(sys.modules)))"
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
    rows = pd.read_csv(StringIO((tmp_path / "out" / "leaderboard.csv").read_text()))
    assert (rows["m"] == rows["task"].map({"imagenet_finetune": 3}).fillna(1)).sum() == 60
    assert rows["mean"].isna().all()
