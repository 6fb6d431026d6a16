import json
import math
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from mae_bench.kit.figures import write_picture
from mae_bench.report.efficiency import efficiency
from mae_bench.report.figures.bars import bars
from mae_bench.report.figures.build import Drawn, Shown, figures
from mae_bench.report.figures.columns import MOST_ROWS, sheets
from mae_bench.report.figures.labels import _apart
from mae_bench.report.figures.losses import BINS, losses
from mae_bench.report.figures.pictures import pictures
from mae_bench.report.figures.scatter import EFFICIENCY, scatter
from mae_bench.report.figures.style import Look, label, looks, number
from mae_bench.report.frame import long_frame
from mae_bench.report.leaderboard import leaderboard
from mae_bench.report.published import published
from mae_bench.report.rows import columns_of, numbers_of_others, rows_of_others
from mae_bench.suite.suite import Column, made_row

FINETUNE, LINEAR, COCO = "imagenet_finetune", "imagenet_linear", "coco_vitdet"
COLOURS = {"#0072b2": "MAE", "#d55e00": "Sup", "#009e73": "Rand"}
NASTY = "<b>$x_{1}$ & \\frac{1}{2} %s --\x1b[31m\n" + "long " * 60


def shown(bench: Any) -> Shown:
    """Return what the bench's figures are drawn from, what was published among it."""
    frame = long_frame(bench.plan, bench.store)
    board, columns = leaderboard(frame), columns_of(frame)
    others = numbers_of_others(rows_of_others(frame, columns, published()), columns)
    lines = efficiency(frame, board, others)
    return Shown(bench.plan, bench.store, board, others, lines)


def draw(bench: Any, folder: Path) -> Drawn:
    """Draw the bench's figures."""
    return figures(shown(bench), folder)


def look(bench: Any) -> dict[str, Look]:
    """Return how the bench's rows look."""
    return looks([(row.label, row.origin) for row in bench.plan.suite.rows])


def log_losses(bench: Any, job: Any, losses: list[float], epochs: float) -> None:
    """Leave a metrics.jsonl as training does."""
    lines = [
        {"step": n, "steps": len(losses), "epoch": epochs * n / len(losses), "loss": loss}
        for n, loss in enumerate(losses, 1)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (bench.store.dir(job) / "metrics.jsonl").write_text(text)


def leave_picture(bench: Any) -> None:
    """Leave a picture as the MAE row's detection does."""
    folder = bench.store.dir(bench.jobs("MAE", COCO)[0]) / "figures"
    folder.mkdir()
    write_picture(folder / "detections.png", Image.new("RGB", (4, 4)), "truth and detections")


@pytest.fixture
def whole(filled: Any) -> Any:
    """Return the filled bench with hours on one device, losses and a picture."""
    for hours, job in enumerate(filled.plan.jobs, 1):
        values = dict(filled.store.result(job).metrics) if filled.store.result(job) else {}
        values = values or {metric.name: 1.0 for metric in job.recipe.metrics}
        about = {"device": "H200", "facts": {"encoder": {"params": 1e6, "sha256": "abc"}}}
        filled.finish(job, values, seconds=3600.0 * hours, provenance=about)
        if job.source is None and job.recipe.name != "random_init":
            log_losses(filled, job, [3.0 / step for step in range(1, 1001)], 36.0)
    leave_picture(filled)
    return filled


def markers(svg: Path, colour: str) -> list[tuple[float, float]]:
    """Return where the figure's markers of that colour are."""
    pattern = rf'<use xlink:href="[^"]*" x="([\d.]+)" y="([\d.]+)" style="fill: {colour}'
    return [(float(x), float(y)) for x, y in re.findall(pattern, svg.read_text())]


def test_every_figure_has_its_data_beside_it_and_the_same_bytes_twice(
    whole: Any, tmp_path: Path
) -> None:
    one, other = draw(whole, tmp_path / "one"), draw(whole, tmp_path / "other")
    assert not one.notes
    names = ["bars", "pretraining-hours", "efficiency", "losses", "detections"]
    assert [figure.name for figure in one.figures] == names
    for first, again in zip(one.figures, other.figures, strict=True):
        kinds = ["svg", "png", "csv"] if first.name != "detections" else ["png", "csv"]
        assert [path.name for path in first.files] == [f"{first.name}.{kind}" for kind in kinds]
        assert [p.read_bytes() for p in first.files] == [p.read_bytes() for p in again.files]
    kept = sorted((tmp_path / "one" / "figures").iterdir())
    assert kept == sorted(path for figure in one.figures for path in figure.files)


def test_points_stand_where_their_data_says(whole: Any, tmp_path: Path) -> None:
    (figure,) = scatter(EFFICIENCY, shown(whole).costs, look(whole), tmp_path)
    data = pd.read_csv(figure.files[2])
    places = {row: markers(figure.files[0], colour) for colour, row in COLOURS.items()}
    panels = list(dict.fromkeys(zip(data["task"], data["metric"], strict=True)))
    assert {row: len(found) for row, found in places.items()} == dict.fromkeys(places, len(panels))
    for panel, (task, metric) in enumerate(panels):
        here = data[(data["task"] == task) & (data["metric"] == metric)].set_index("row")
        for name, axis in (("total_gpu_hours", 0), ("mean", 1)):
            values = [here.loc[row, name] for row in places]
            drawn = [found[panel][axis] for found in places.values()]
            between = (values[2] - values[0]) / (values[1] - values[0])
            assert (drawn[2] - drawn[0]) / (drawn[1] - drawn[0]) == pytest.approx(between, 1e-3)


def test_bars_are_as_long_as_their_numbers(filled: Any, tmp_path: Path) -> None:
    (figure,) = draw(filled, tmp_path).figures
    data = pd.read_csv(figure.files[2]).set_index(["task", "row"])
    paths = re.findall(
        r'<path d="M ([\d.]+) [\d.]+ \nL ([\d.]+) [^"]*z\n" clip-path="[^"]*" style="fill: (#\w+)"',
        figure.files[0].read_text(),
    )
    found = {COLOURS[colour]: float(end) - float(start) for start, end, colour in paths}
    numbers = data.loc[LINEAR, "mean"]
    assert dict(numbers) == {"MAE": 61.5, "Sup": 62.25, "Rand": 32.0}
    assert found.keys() == set(COLOURS.values())
    for row, length in found.items():
        assert length / found["Rand"] == pytest.approx(numbers[row] / 32.0, 1e-4)


def test_a_hole_is_drawn_as_one_and_never_as_0(filled: Any, tmp_path: Path) -> None:
    job = filled.jobs("MAE", LINEAR)[0]
    (filled.store.dir(job) / "result.json").unlink()
    assert not draw(filled, tmp_path).notes
    data = pd.read_csv(tmp_path / "figures" / "bars.csv")
    assert set(data[data["task"] == LINEAR]["row"]) == {"Sup", "Rand"}
    assert "<!-- no number -->" in (tmp_path / "figures" / "bars.svg").read_text()


def test_nothing_is_drawn_of_nothing(three: Any, tmp_path: Path) -> None:
    assert draw(three, tmp_path) == Drawn((), ())
    assert not (tmp_path / "figures").exists()


def test_one_row_alone_has_bars_and_nothing_to_compare(
    bench: Callable[..., Any], tmp_path: Path
) -> None:
    alone = bench((made_row("MAE", "mae", "demo", {}),), (Column(LINEAR, "demo"),))
    alone.fill("MAE", LINEAR, 50.0, 52.0)
    assert [figure.name for figure in draw(alone, tmp_path).figures] == ["bars"]


def test_names_from_outside_are_drawn_as_they_are(
    bench: Callable[..., Any], tmp_path: Path
) -> None:
    rows = tuple(
        made_row(name, "mae", "demo", {"epochs": epochs})
        for name, epochs in ((NASTY, 13), ("$a$ 東京", 14))
    )
    nasty = bench(rows, (Column(LINEAR, "demo", seeds=(0,)),))
    for hours, row in enumerate(rows, 1):
        (job,) = nasty.jobs(row.label, LINEAR)
        nasty.fill(row.label, LINEAR, 50.0 + hours)
        nasty.finish(job.source, {"loss": 0.5}, seconds=3600.0 * hours)
        log_losses(nasty, job.source, [1.0, 0.5], 2.0)
    drawn = draw(nasty, tmp_path)
    assert not drawn.notes
    assert [figure.name for figure in drawn.figures] == ["bars", "pretraining-hours", "losses"]
    for figure in drawn.figures:
        text = figure.files[0].read_text()
        ET.fromstring(text)
        assert "\x1b" not in text
        found = re.search(r"<!-- ([^>]*\$x_\{1\}\$[^>]*) -->(.*?)</g>", text, re.S)
        assert found is not None
        name = unescape(found[1])
        assert label(NASTY).startswith(name.rstrip("…"))
        assert found[2].count("<use") == len(name)  # each letter as it is: no formula
        wide = ET.fromstring(text).attrib["width"]
        assert wide == "547.2pt"  # a long name widens nothing


def test_a_figure_that_cannot_be_drawn_is_a_note(filled: Any, tmp_path: Path) -> None:
    leave_picture(filled)
    (tmp_path / "figures" / "bars.svg").mkdir(parents=True)
    drawn = draw(filled, tmp_path)
    assert [figure.name for figure in drawn.figures] == ["detections"]
    assert len(drawn.notes) == 1 and drawn.notes[0].startswith("The figure bars could not be drawn")


def test_figures_of_an_earlier_report_go_and_what_is_not_ours_stays(
    filled: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "figures"
    folder.mkdir()
    stale = [folder / name for name in ("bars-3.svg", "segmentations.png", "partial.csv")]
    own = [folder / name for name in ("mine.png", "bars.pdf", "bars-notes.csv")]
    for path in (*stale, *own):
        path.write_bytes(b"of before")
    draw(filled, tmp_path)
    assert not any(path.exists() for path in stale)
    assert all(path.read_bytes() == b"of before" for path in own)


def test_a_loss_is_thinned_to_means_over_equal_parts(whole: Any, tmp_path: Path) -> None:
    (figure,) = losses(whole.plan, whole.store, look(whole), tmp_path)
    data = pd.read_csv(figure.files[2], float_precision="round_trip")
    assert set(data["objective"]) == {"mae", "supervised"}
    one = data[data["objective"] == "mae"]
    assert len(one) in (BINS, BINS + 1)
    parts: dict[int, list[float]] = {}
    for step in range(1, 1001):
        parts.setdefault(int((36.0 * step / 1000) // (36.0 / BINS)), []).append(3.0 / step)
    expected = [math.fsum(part) / len(part) for part in parts.values()]
    assert list(one["loss"]) == pytest.approx(expected, rel=1e-12)


def test_pictures_say_which_job_left_them(whole: Any, tmp_path: Path) -> None:
    (figure,) = pictures(whole.plan, whole.store, tmp_path)
    (job,) = whole.jobs("MAE", COCO)
    (one,) = pd.read_csv(figure.files[1]).to_dict("records")
    assert (one["row"], one["recipe"], one["seed"], one["key"]) == ("MAE", COCO, 0, job.key)
    assert (one["encoder"], one["encoder_sha256"]) == (job.source.key, "abc")
    assert (one["data"], one["shows"]) == (job.data_fingerprint, "truth and detections")


def test_a_curve_has_a_line_for_each_row_and_the_published_points(
    bench: Callable[..., Any], tmp_path: Path
) -> None:
    row = made_row("MAE L", "mae", "published", {"arch": "vit_large_patch16"})
    made = bench((row,), (Column("imagenet_partial", seeds=(0,)),))
    (job,) = made.jobs("MAE L", "imagenet_partial")
    ours = {"top1_0": 73.0, "top1_1": 81.2, "top1_all": 85.0}
    made.finish(job, ours)
    drawn = draw(made, tmp_path)
    assert [figure.name for figure in drawn.figures] == ["partial"]  # and no panel for each point
    data = pd.read_csv(tmp_path / "figures" / "partial.csv", dtype={"place": str})
    mine = data[data["kind"] == "ours"]
    assert dict(zip(mine["metric"], mine["mean"], strict=True)) == ours
    theirs = data[data["kind"] == "published"]
    points = dict(zip(theirs["place"], theirs["mean"], strict=True))
    assert points == {"0": 73.5, "0.5": 79.1, "1": 81.0, "all": 84.9}


def many(rows: int, columns: int) -> pd.DataFrame:
    """Return lines of efficiency and board in one, of very many rows."""
    lines = [
        {
            "kind": "ours",
            "row": f"encoder number {row}",
            "arch": "vit_base_patch16",
            "origin": "mae",
            "task": LINEAR,
            "variant": f"image size {column}",
            "metric": "top1",
            "title": "linear top-1",
            "unit": "%",
            "higher_is_better": True,
            "digits": 1,
            "mean": (row * 37 % rows) / rows * 100,
            "low": 0.0,
            "high": 100.0,
            "basis": "images",
            "published": float("nan"),
            "total_gpu_hours": 1.0 + row,
            "device": "V100",
            "front": row == 0,
        }
        for row in range(rows)
        for column in range(columns)
    ]
    return pd.DataFrame(lines)


def test_two_thousand_rows_leave_small_figures_of_the_best(tmp_path: Path) -> None:
    lines = many(2000, 2)
    found = looks([(str(row), "mae") for row in dict.fromkeys(lines["row"])])
    for figure in (*bars(lines, found, tmp_path), *scatter(EFFICIENCY, lines, found, tmp_path)):
        assert figure.files[0].stat().st_size < 150_000
        assert f"{MOST_ROWS} of 2,000 rows" in figure.caption
        data = pd.read_csv(figure.files[2])
        assert data["row"].nunique() == MOST_ROWS
        assert data["mean"].min() >= 100 * (1 - MOST_ROWS / 2000)


def test_panels_that_are_too_many_go_into_further_figures() -> None:
    groups = [group for _, group in many(9, 14).groupby("variant", sort=False)]
    found = sheets("bars", groups)
    assert list(found) == ["bars", "bars-2", "bars-3"]
    assert [group for part in found.values() for group in part] == groups


def test_rows_of_one_origin_share_a_colour_and_no_marker() -> None:
    found = looks([("a", "mae"), ("b", "dino"), ("c", "mae"), ("d", "moco"), ("e", "dino")])
    assert found["a"].colour == found["c"].colour and found["b"].colour == found["e"].colour
    assert len({found[row].colour for row in "abd"}) == 3
    assert len({(one.colour, one.marker, str(one.line)) for one in found.values()}) == 5


def test_names_move_apart_no_farther_than_they_must() -> None:
    assert _apart([90.0, 50.0, 10.0], 10.0, (0.0, 100.0)) == [90.0, 50.0, 10.0]
    assert _apart([50.0, 50.0], 10.0, (0.0, 100.0)) == [55.0, 45.0]
    assert _apart([51.0, 50.0, 49.0, 10.0], 10.0, (0.0, 100.0)) == [60.0, 50.0, 40.0, 10.0]
    assert _apart([100.0, 99.0], 10.0, (0.0, 100.0)) == [100.0, 90.0]
    assert _apart([1.0, 0.0], 10.0, (0.0, 100.0)) == [10.0, 0.0]


def test_numbers_of_an_axis_are_short() -> None:
    values = [0.0, 0.025, 2.5, 82.5, 12000.0, -3.0, 0.00002]
    assert [number(v) for v in values] == ["0", "0.025", "2.5", "82.5", "12,000", "−3", "2e-05"]


LIGHT = """
import sys
import pandas as pd
from pathlib import Path
from mae_bench.report.figures.bars import bars
from mae_bench.report.figures.style import looks
lines = pd.read_csv("lines.csv", keep_default_na=False)
lines["published"] = float("nan")
bars(lines, looks([("encoder number 0", "mae"), ("encoder number 1", "mae")]), Path("out"))
print(bool({"torch", "matplotlib.pyplot", "timm"} & set(sys.modules)))
"""


def test_drawing_loads_neither_torch_nor_pyplot(tmp_path: Path) -> None:
    many(2, 2).to_csv(tmp_path / "lines.csv", index=False)
    done = subprocess.run(
        [sys.executable, "-c", LIGHT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
        timeout=120,
    )
    assert done.stdout.strip() == "False"
