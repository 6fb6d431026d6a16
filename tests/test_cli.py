import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

PROGRAM = Path(sys.executable).with_name("mae-bench")
COMMANDS = (
    "run",
    "pretrain",
    "transfer",
    "encoders",
    "reconstruct",
    "status",
    "logs",
    "explain",
    "missing",
    "show",
    "cancel",
    "retry",
    "gc",
    "report",
    "verify",
    "compare",
    "doctor",
    "data",
    "list",
)


def call(*words, cwd, **options):
    return subprocess.run(
        [PROGRAM, *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


@pytest.mark.parametrize("words", [[], *[[name] for name in COMMANDS], ["pretrain", "mae"]])
def test_help_ends_with_an_example(tmp_path, words):
    answer = call(*words, "--help", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip().splitlines()[-1].startswith("Example: mae-bench ")


def test_the_help_of_a_recipe_explains_its_fields(tmp_path):
    answer = call("pretrain", "mae", "--help", cwd=tmp_path)
    assert "--mask-ratio" in answer.stdout
    assert "hidden from the encoder" in answer.stdout


def test_a_reader_that_has_enough_ends_the_output_quietly(tmp_path):
    run = subprocess.Popen(
        [PROGRAM, "list"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    run.stdout.close()
    assert run.stderr.read() == ""
    assert run.wait() == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rum"], "did you mean 'run'?"),
        (["run", "--suite", "dem"], "did you mean 'demo'?"),
        (["pretrain", "mea"], "did you mean 'mae'?"),
        (["pretrain", "mae", "--mask-ratio", "1.2"], "mae.mask_ratio must be in (0, 1), got 1.2"),
        (["transfer", "imagenet_linear", "--encoder", "no.safetensors"], "no.safetensors"),
        (["run", "--suite", "none.toml"], "no suite file none.toml"),
        (["run", "--suite", "demo", "--site", "none.toml"], "no site file none.toml"),
        (["data", "check", "imagnet", "."], "did you mean 'imagenet'?"),
        (["data", "shard", "none", "shards"], "no folder none/train"),
        (["reconstruct", "encoder.safetensors", "a.jpg"], "needs the decoder"),
        (["pretrain", "mae", "--micro-batch", "7"], "possible: 1, 2, 4, 8, 16"),
        (["pretrain", "mae", "--gpus", "3"], "cannot be divided over 3 processes"),
        (["track", "--suite", "demo", "--to", "tensorboard"], "no store runs; pass --store DIR"),
        (["run", "--suite", "demo", "--parallel", "-1"], "--parallel must be >= 0, got -1"),
    ],
)
def test_wrong_usage_exits_with_2_before_any_work(tmp_path, words, message):
    answer = call(*words, cwd=tmp_path)
    assert answer.returncode == 2, answer.stdout + answer.stderr
    text = " ".join((answer.stdout + answer.stderr).split())
    assert message in text
    assert "Traceback" not in text
    assert not list(tmp_path.iterdir())


def test_a_mistake_in_site_toml_is_named(tmp_path):
    (tmp_path / "site.toml").write_text("[data]\nimagnet = 'x'\n")
    answer = call("run", "--suite", "demo", "--dry-run", cwd=tmp_path)
    assert answer.returncode == 2
    assert "unknown key of [data] 'imagnet'; did you mean 'imagenet'?" in answer.stderr


def test_missing_data_exits_with_3_before_any_work(tmp_path):
    (tmp_path / "half" / "train").mkdir(parents=True)
    answer = call("run", "--suite", "full", "--imagenet", tmp_path / "half", cwd=tmp_path)
    assert answer.returncode == 3
    assert "no folder" in answer.stderr
    assert "half/val" in answer.stderr
    assert "set data.coco in site.toml or pass --coco DIR" in answer.stderr
    assert not list((tmp_path / "runs").glob("*/job.json"))


def test_the_full_plan_is_printed_without_any_data(tmp_path):
    answer = call("run", "--suite", "full", "--dry-run", cwd=tmp_path)
    assert answer.returncode == 0
    table, _, rest = answer.stdout.partition("\n\n")
    assert len(table.splitlines()) == 1 + 63
    assert "blocked (18 jobs): imagenet: no folder given" in rest
    assert "full: 63 jobs: 60 blocked, 3 to run" in rest
    assert not list(tmp_path.iterdir())


def test_an_encoder_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "e.safetensors").write_bytes(b"not an encoder")
    words = ("transfer", "imagenet_linear", "--encoder", "e.safetensors")
    answer = call(*words, cwd=tmp_path)
    assert answer.returncode == 2
    assert "e.safetensors is not a whole safetensors file" in answer.stderr


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """Return the folder in which the smoke suite ran, and what it printed."""
    folder = tmp_path_factory.mktemp("smoke")
    answer = call("run", "--suite", "smoke", cwd=folder)
    return folder, answer


def test_the_smoke_suite_fills_its_table(smoke):
    folder, answer = smoke
    assert answer.returncode == 0, answer.stdout + answer.stderr
    board = json.loads((folder / "results" / "smoke" / "leaderboard.json").read_text())
    cells = board["cells"]
    assert len(cells) == 15
    assert all(cell["n"] == cell["m"] == 1 and cell["mean"] is not None for cell in cells)
    assert len({cell["params"] for cell in cells}) == 1
    names = {path.name for path in (folder / "results" / "smoke" / "figures").iterdir()}
    assert {"detections.png", "reconstructions.png", "segmentations.png"} <= names


def test_a_second_run_finds_everything_cached_and_writes_the_same_tables(smoke):
    folder, _ = smoke
    tables = folder / "results" / "smoke"
    before = {path.name: path.read_bytes() for path in tables.glob("l*")}
    times = {path: path.stat().st_mtime_ns for path in tables.rglob("*.*")}
    results = {p: p.stat().st_mtime_ns for p in (folder / "runs").glob("*/result.json")}
    start = time.monotonic()
    answer = call("run", "--suite", "smoke", cwd=folder)
    assert time.monotonic() - start < 10
    assert "14 jobs, 14 cached" in answer.stdout
    assert {p: p.stat().st_mtime_ns for p in (folder / "runs").glob("*/result.json")} == results
    assert {path.name: path.read_bytes() for path in tables.glob("l*")} == before
    assert {path: path.stat().st_mtime_ns for path in tables.rglob("*.*")} == times


def test_a_plan_leaves_out_what_is_cached_and_takes_what_was_measured_for_the_rest(smoke, tmp_path):
    folder, _ = smoke
    answer = call("plan", "--suite", "smoke", "--json", cwd=folder)
    assert answer.returncode == 0, answer.stderr
    plan = json.loads(answer.stdout)
    assert {job["state"] for job in plan["jobs"]} == {"cached"}
    assert (plan["gpu_hours"], plan["wall_hours"], plan["disk"]["needed_bytes"]) == (0, 0, 0)
    shutil.copytree(folder / "runs", tmp_path / "runs", ignore=shutil.ignore_patterns("*.pt"))
    for path in (tmp_path / "runs").glob("*/result.json"):
        job = json.loads(path.with_name("job.json").read_text())
        if job["row"] == "MAE":
            path.unlink()
    answer = call("plan", "--suite", "smoke", "--json", cwd=tmp_path)
    jobs = [job for job in json.loads(answer.stdout)["jobs"] if job["row"] == "MAE"]
    found = {job["recipe"]: job["from"] for job in jobs}
    assert found.pop("mae") == "estimated"  # its own were the only ones
    assert set(found.values()) == {"measured"}


def test_a_table_shows_the_hole_of_a_lost_result(smoke, tmp_path):
    folder, _ = smoke
    shutil.copytree(folder / "runs", tmp_path / "runs", ignore=shutil.ignore_patterns("*.pt"))
    for path in (tmp_path / "runs").glob("*/result.json"):
        job = json.loads(path.with_name("job.json").read_text())
        if job["row"] == "MAE" and job["identity"]["recipe"] == "coco_vitdet":
            path.unlink()
    answer = call("report", "--suite", "smoke", cwd=tmp_path)
    assert answer.returncode == 0
    board = json.loads((tmp_path / "results" / "smoke" / "leaderboard.json").read_text())
    holes = [cell for cell in board["cells"] if cell["mean"] is None]
    assert {(cell["row"], cell["metric"]) for cell in holes} == {
        ("MAE", "box_ap"),
        ("MAE", "mask_ap"),
    }


def test_pretraining_killed_at_once_and_run_again_gives_the_same_encoder(tmp_path, smoke):
    folder, _ = smoke
    data = next((folder / "runs" / "data").iterdir()) / "imagenet"
    words = ["pretrain", "mae", "--size", "demo", "--arch", "vit_smoke_patch8", "--epochs", "12"]
    words += ["--warmup-epochs", "1", "--batch-size", "16", "--imagenet", str(data)]
    assert call(*words, "--store", "whole", cwd=tmp_path).returncode == 0
    for attempt in range(5):
        run = subprocess.Popen(
            [PROGRAM, *words, "--store", "cut"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )
        until = time.monotonic() + 4 + 1.5 * attempt
        while run.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        if run.poll() is not None:
            break
        run.send_signal(signal.SIGKILL if attempt % 2 else signal.SIGINT)
        assert run.wait(60) in (0, 130, -signal.SIGKILL)  # 0: it ended by itself just then
    assert call(*words, "--store", "cut", cwd=tmp_path).returncode == 0
    whole, cut = (
        next((tmp_path / name).glob("*/encoder.safetensors")).read_bytes()
        for name in ("whole", "cut")
    )
    assert whole == cut


def curve_in(folder, name):
    """Return the values of a TensorBoard curve by step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(name)}


def test_shards_and_trackers_give_the_same_encoder_and_a_picture(tmp_path, smoke):
    folder, _ = smoke
    data = next((folder / "runs" / "data").iterdir()) / "imagenet"
    answer = call("data", "shard", data, "shards", "--images-per-shard", "50", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "packing: 192/192 images" in answer.stdout
    words = ["pretrain", "mae", "--size", "demo", "--arch", "vit_smoke_patch8", "--epochs", "2"]
    words += ["--warmup-epochs", "1", "--batch-size", "32", "--workers", "1"]
    for name, root, more in (
        ("plain", data, ()),
        ("sharded", "shards", ("--track", "tensorboard")),
    ):
        answer = call(*words, "--store", name, "--imagenet", root, *more, cwd=tmp_path)
        assert answer.returncode == 0, answer.stderr
    plain, sharded = (
        next((tmp_path / name).glob("*/encoder.safetensors")) for name in ("plain", "sharded")
    )
    assert plain.read_bytes() == sharded.read_bytes()
    lines = map(json.loads, (sharded.parent / "metrics.jsonl").read_text().splitlines())
    assert curve_in(sharded.parent / "tensorboard", "loss") == {
        line["step"]: pytest.approx(line["loss"]) for line in lines if "loss" in line
    }
    photo = next((data / "val").rglob("*.JPEG"))
    answer = call("reconstruct", sharded, photo, photo, "-o", "out/grid.png", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    with Image.open(tmp_path / "out" / "grid.png") as picture:
        assert picture.size == (2 * 64 + 4, 3 * 64 + 8)


def test_help_takes_less_than_half_a_second(tmp_path):
    times = []
    for _ in range(3):
        start = time.perf_counter()
        call("--help", cwd=tmp_path, env={"PATH": os.environ["PATH"]})
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5
