import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from mae_bench.core.files import METRICS
from mae_bench.core.job import Checkpoint, Job
from mae_bench.core.owner import this_process
from mae_bench.core.registry import load
from mae_bench.core.turns import take
from mae_bench.kit.figures import write_picture
from mae_bench.suite.attempts import ATTEMPTS
from mae_bench.suite.store import FAILURE, RESULT, SCHEMA, Store, sealed

SOURCE = "d" * 64


@pytest.fixture
def store(tmp_path):
    """Return a store with a done, a failed, a running and a stopped job."""
    store = Store(tmp_path / "runs")
    jobs = [
        ("MAE", "coco_vitdet", 0),
        ("MAE", "ade20k_upernet", 0),
        ("Random init", "coco_vitdet", 0),
        ("Random init", "coco_vitdet", 1),
    ]
    for row, name, seed in jobs:
        source = Checkpoint(tmp_path / f"{row}.safetensors", f"sha256 of {row}")
        job = Job(row, load(name).demo(), seed, "demo/data", source)
        store.prepare(job, tmp_path / "data")
    return store


def folder(store, row, name, seed=0):
    (found,) = (
        path.parent
        for path in store.root.glob("*/job.json")
        if (job := json.loads(path.read_text()))["row"] == row
        and job["identity"]["recipe"] == name
        and job["seed"] == seed
    )
    return found


def finish(out, **metrics):
    key = json.loads((out / "job.json").read_text())["key"]
    facts = {
        "encoder": {"arch": "vit_demo_patch8", "sha256": SOURCE},
        "training": {"world": 4, "precision": "bfloat16"},
        "class_ap": {f"class {i}": 1.0 for i in range(80)},
        "undrawn": {"classes.png": "ValueError: there are no classes to draw"},
    }
    (out / "facts.json").write_text(json.dumps(facts))
    provenance = {"finished": "2026-01-02T03:04:05+00:00", "device": "a GPU", "facts": facts}
    provenance |= {"values": "vit_base_patch16, supervised"}
    result = {"schema": SCHEMA, "key": key, "metrics": metrics, "seconds": 3725.0}
    result |= {"provenance": provenance, "fidelity": ["lr 1, published 2", "seeds 3"]}
    (out / RESULT).write_text(json.dumps(sealed(result)))
    (out / "predictions.json").write_text("[]")
    (out / "iter_12.pth").write_bytes(b"")
    picture = Image.new("RGB", (3, 2))
    write_picture(out / "figures" / "detections.png", picture, "What was found")


def show(store, *words):
    command = [sys.executable, "-m", "mae_bench.cli", "show", *map(str, words)]
    return subprocess.run(
        [*command, "--store", str(store.root)],
        cwd=store.root.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def shown(store, *words):
    answer = show(store, *words)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_a_finished_job_tells_everything(store):
    out = folder(store, "MAE", "coco_vitdet")
    finish(out, box_ap=51.234, mask_ap=45.0)
    text = shown(store, "mae", "coco_vitdet")
    assert f"coco_vitdet of MAE, seed 0 ({out.name})" in text
    for part in (
        "done in 1 h 02 min, 2026-01-02 03:04:05",
        "COCO box AP 51.2%, COCO mask AP 45.0%",
        "values     published for vit_base_patch16, supervised",
        "2 deviations from what is published",
        "lr 1, published 2",
        "image_size 96",
        "MAE.safetensors: arch vit_demo_patch8, sha256 dddddddddddddddd",
        "training   world 4, precision bfloat16",
        "class_ap   80 entries",
        "predictions.json       every detection, in COCO's result format",
        "iter_12.pth            the last weights, as mmengine keeps them",
        "detections.png           What was found",
        "classes.png              could not be drawn: ValueError: there are no classes to draw",
    ):
        assert part in text or part in " ".join(text.split()), part  # long ones are wrapped
    assert "checkpoints" not in text
    assert max(map(len, text.splitlines())) < 120 + len(str(store.root))


def test_the_same_is_told_as_json(store):
    out = folder(store, "MAE", "coco_vitdet")
    finish(out, box_ap=51.234, mask_ap=45.0)
    told = json.loads(shown(store, out, "--json"))
    assert told["metrics"] == {"box_ap": 51.234, "mask_ap": 45.0}
    assert told["state"] == {"name": "done", "reason": ""}
    assert told["recipe"]["image_size"] == 96
    assert told["fidelity"] == ["lr 1, published 2", "seeds 3"]
    assert told["figures"]["detections.png"]["shows"] == "What was found"
    assert set(told["files"]) == {"facts.json", "iter_12.pth", "predictions.json", "result.json"}
    assert list(told["undrawn"]) == ["classes.png"]


def test_jobs_without_a_result_say_why_and_how_far_they_are(store):
    failed = folder(store, "MAE", "ade20k_upernet")
    (failed / FAILURE).write_text('{"message": "ValueError: the run diverged"}')
    (failed / METRICS).write_text('{"step": 7, "steps": 9, "loss": 2.5, "lr": 0.1}\n{"st')
    text = shown(store, failed.name[:8])
    assert "failed: ValueError: the run diverged; step 7 of 9, loss 2.5000, lr 1.00e-01" in text
    assert "failure.json           why there is no result" in text
    running = folder(store, "Random init", "coco_vitdet", 1)
    turn = take(running / ATTEMPTS, 0, this_process())
    assert f"running: process {os.getpid()} on " in shown(store, running.name)
    assert "no step is logged" in shown(store, "Running")
    turn.end("stopped")
    assert "stopped before the end" in shown(store, "RANDOM", "seed0")
    assert json.loads(shown(store, running, "--json"))["metrics"] == {}


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["coco_vitdet"], ["may be 3 jobs", "MAE · coco_vitdet · seed 0  (new)", "seed 1"]),
        (["coco_vtidet"], ["did you mean 'coco_vitdet'?", "Random init · coco_vitdet"]),
        (["MAE", "imagenet_linear"], ["unknown job 'imagenet_linear'", "MAE · ade20k_upernet"]),
        (["./data"], ["is no job's folder: it has no job.json"]),
        (["broken"], ["broken/job.json cannot be understood"]),
        ([], ["show needs a job"]),
    ],
)
def test_what_is_not_one_job_is_an_error_with_candidates(store, words, parts):
    (store.root.parent / "data").mkdir()
    (store.root / "broken").mkdir()
    (store.root / "broken" / "job.json").write_text('{"key": "broken"}')
    answer = show(store, *words)
    assert answer.returncode == 2, answer.stdout
    assert not answer.stdout
    assert "Traceback" not in answer.stderr
    for part in parts:
        assert part in answer.stderr


def test_an_empty_store_is_said_to_be_so(store):
    answer = show(Store(store.root.parent / "none"), "coco_vitdet")
    assert answer.returncode == 2
    assert "no such job folder, and no job in the store" in answer.stderr


def test_showing_a_job_loads_no_torch(store):
    out = folder(store, "MAE", "coco_vitdet")
    finish(out, box_ap=1.0, mask_ap=1.0)
    code = (
        "import sys; from mae_bench.commands.show import show; "
        f"show([{str(out)!r}]); print({{'torch', 'matplotlib', 'pandas'}} & set(sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.splitlines()[-1] == "set()"
