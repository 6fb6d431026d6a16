import os
import signal
import threading
from pathlib import Path

import pytest

from mae_bench.core.demo_data import DemoData
from mae_bench.core.site import Site
from mae_bench.kit.gpus import cpu_name
from mae_bench.suite.cost import calibration
from mae_bench.suite.cost.bill import Wishes, bill
from mae_bench.suite.cost.calibration import calibrate
from mae_bench.suite.cost.samples import CALIBRATION, read_samples
from mae_bench.suite.preflight import prepare_ground, survey
from mae_bench.suite.suite import Column, Suite, made_row

SIZES = DemoData(num_train_images=64, num_val_images=16, num_train_scenes=8, num_val_scenes=8)
LONG = {"epochs": 5000, "batch_size": 8}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Let two lines of progress be enough."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(calibration, "WARM_LINES", 1)
    monkeypatch.setattr(calibration, "ENOUGH_LINES", 2)
    monkeypatch.setattr(calibration, "ENOUGH_S", 0.5)


def test_a_few_steps_of_a_kind_are_timed_and_remembered(tmp_path):
    """The task starts from a random encoder: the row's own is not there yet."""
    row = made_row("Random", "random_init", "demo", {})
    suite = Suite("timed", (row,), (Column("imagenet_finetune", "demo", LONG),), (0, 1), SIZES)
    ground = survey(suite, Site(store=tmp_path / "runs"))
    prepare_ground(ground, lambda done, total: None)
    said = []
    (sample,) = calibrate(ground, said.append)
    assert [line.partition(", ")[0].partition(": ")[0] for line in said] == ["timed"]
    assert said[0].startswith("timed: imagenet_finetune of Random: ")
    assert "evaluation left out" in said[0]
    # 8 steps of an epoch take a millisecond at least each, and less than ten seconds
    assert 40 < sample.gpu_seconds < 400_000
    assert (sample.recipe, sample.device, sample.how) == (
        "imagenet_finetune",
        cpu_name(),
        "calibrated",
    )
    root = ground.store.root
    assert read_samples(root) == [sample]
    assert not (root / "calibrating").exists()
    assert not list(root.glob("*/job.json"))
    lines = [line for line in bill(ground, Wishes()).lines if line.job.recipe.metrics]
    assert [line.estimate.how for line in lines] == ["calibrated"] * 2
    assert lines[0].hours * 3600 == pytest.approx(sample.gpu_seconds)
    again = []
    assert calibrate(ground, again.append) == []
    assert again == []


def test_what_cannot_be_timed_is_named_and_nothing_is_remembered_of_it(ground_of, build_suite):
    ground = ground_of(build_suite(rows={"Good": {"outcome": "raise", "steps": 1}}))
    said = []
    assert calibrate(ground, said.append) == []
    assert said[0] == "not timed: counting of Good: ValueError: it went wrong on purpose"
    assert said[1].startswith("not timed: reading of Good: UnicodeDecodeError")
    assert not (ground.store.root / CALIBRATION).exists()


def test_an_interrupted_calibration_leaves_no_process_and_no_folder(ground_of, build_suite):
    ground = ground_of(build_suite(rows={"Good": {"pause_at": 1}}))
    found = []

    def interrupt():
        while not found:
            markers = list(ground.store.root.glob("calibrating/*/paused"))
            found.extend(int(text) for path in markers if (text := path.read_text()))
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    with pytest.raises(KeyboardInterrupt):
        calibrate(ground, print)
    watcher.join()
    assert not Path(f"/proc/{found[0]}").exists()
    assert not (ground.store.root / "calibrating").exists()
    assert read_samples(ground.store.root) == []
