import dataclasses
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean

import pyarrow.parquet as pq
import pytest
import torch
from shifted_sets import make_shifted, write_image

from mae_bench.core.files import CLASSIFIER, FACTS
from mae_bench.core.recipe import Context
from mae_bench.kit.classifier_file import (
    ClassifierFile,
    classifier_shapes,
    read_classifier,
    write_classifier,
)
from mae_bench.kit.datasets import Views
from mae_bench.kit.evaluation import PREDICTIONS, predict
from mae_bench.kit.images import eval_view
from mae_bench.kit.layouts import CORRUPTIONS
from mae_bench.kit.samples import Samples, read_samples
from mae_bench.kit.spec import named_spec
from mae_bench.suite.store import check_metrics
from transfer.classification import finetune
from transfer.corruption_error import ALEXNET
from transfer.imagenet_finetune import ImagenetFinetune
from transfer.imagenet_robustness import ImagenetRobustness
from transfer.robustness import class_index, robustness, square_view

PROGRAM = Path(sys.executable).with_name("mae-bench")
FINETUNE = dataclasses.replace(ImagenetFinetune.demo(), epochs=2, warmup_epochs=1, batch_size=8)
CLASSES = ("zebra", "ant", "quail", "bee", "carp")
"""As in a list beside shards, not sorted."""
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def rigged(tmp_path):
    """Return the file of a classifier that always prefers quail, then ant, then zebra ..."""
    spec = named_spec("vit_smoke_patch8", 64, origin="mae")
    shapes = classifier_shapes(spec, len(CLASSES))
    torch.manual_seed(0)
    state = {name: torch.randn(shape) * 0.02 for name, shape in shapes.items()}
    state["head.weight"] = torch.zeros(shapes["head.weight"])
    state["head.bias"] = torch.tensor([3.0, 4.0, 5.0, 2.0, 1.0])
    path = tmp_path / "rigged.safetensors"
    write_classifier(path, ClassifierFile(spec, state, CLASSES))
    return path


@pytest.fixture
def sets(tmp_path):
    """Return a root with all four sets, of few images."""
    root = tmp_path / "shifted"
    make_shifted(root, CLASSES, {"imagenet-c/fog/3": {"quail": 4}}, ("imagenet-c",))
    make_shifted(root, ("ant", "bee"), {"imagenet-a": {"ant": 3}}, ("imagenet-a",))
    make_shifted(root, ("carp", "zebra"), {"imagenet-r": {"carp": 4}}, ("imagenet-r",))
    make_shifted(root, CLASSES, {"sketch": {"quail": 6}}, ("sketch",))
    (root / "imagenet-r" / "README.txt").write_text("as in the archive")
    write_image(root / "imagenet-a" / "ant" / "wide.jpg", "wide", (120, 70))
    return root


def measure(folder, encoder, data, seed=0, **fields):
    folder.mkdir(exist_ok=True)
    return robustness(ImagenetRobustness(**fields), Context(folder, seed, data, encoder))


def test_the_metrics_are_those_of_a_hand_calculation(tmp_path, rigged, sets):
    found = measure(tmp_path / "out", rigged, sets)
    check_metrics(found, ImagenetRobustness.metrics)
    # Always quail: wrong for 4 of 5 images, and for 4 of 8 in fog of severity 3.
    parts = {name: [0.8] * 5 for name in CORRUPTIONS}
    parts["fog"] = [0.8, 0.8, 0.5, 0.8, 0.8]
    mce = mean(100 * sum(parts[name]) / (5 * ALEXNET[name]) for name in CORRUPTIONS)
    assert found["mce"] == pytest.approx(mce, abs=1e-6)
    assert found["top1_a"] == pytest.approx(100 * 4 / 5)  # ant before bee, for quail is not there
    assert found["top1_r"] == pytest.approx(100 * 1 / 5)  # zebra before carp
    assert found["top1_sketch"] == pytest.approx(100 * 6 / 10)
    facts = json.loads((tmp_path / "out" / FACTS).read_text())
    assert facts["corruption"]["errors"]["fog"]["3"] == 0.5
    assert "imagenet-a: 5 images, published 7500" in facts["deviations"]


def test_every_image_is_predicted_once_with_the_label_of_its_folder(tmp_path, rigged, sets):
    out = tmp_path / "out"
    measure(out, rigged, sets)
    files = sorted(out.glob("predictions-*.parquet"))
    assert len(files) == 15 * 5 + 3
    for name in ("imagenet-c/fog/3", "imagenet-a", "imagenet-r", "sketch"):
        table = pq.read_table(out / f"predictions-{name.replace('/', '-')}.parquet")
        folder = sets / name
        images = {str(path.relative_to(folder)) for path in folder.glob("*/*")}
        assert sorted(table["image"].to_pylist()) == sorted(images)
        classes = sorted({image.split("/")[0] for image in images})
        labels = [classes.index(image.split("/")[0]) for image in table["image"].to_pylist()]
        assert table["label"].to_pylist() == labels


def test_only_the_sets_that_are_named_are_measured_and_needed(tmp_path, rigged, sets):
    shutil.rmtree(sets / "imagenet-c")
    found = measure(tmp_path / "out", rigged, sets, sets=("sketch", "imagenet-a"))
    assert set(found) == {"top1_sketch", "top1_a"}
    check_metrics(found, ImagenetRobustness.metrics)
    with pytest.raises(ValueError, match=r"no folder .*imagenet-c/gaussian_noise/1"):
        measure(tmp_path / "whole", rigged, sets)


@pytest.mark.parametrize("names", [(), ("imagenet-b",), ("sketch", "sketch")])
def test_unknown_and_repeated_sets_are_refused(names):
    with pytest.raises(ValueError, match=r"imagenet_robustness\.sets must be distinct among"):
        ImagenetRobustness(sets=names)


def test_a_class_that_training_did_not_know_is_named_before_any_work(tmp_path, rigged, sets):
    write_image(sets / "sketch" / "wombat" / "0.JPEG", "wombat")
    with pytest.raises(ValueError, match=r"sketch has 1 classes .* such as 'wombat'"):
        measure(tmp_path / "out", rigged, sets)
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_a_set_of_all_classes_may_lack_none(tmp_path, rigged, sets):
    shutil.rmtree(sets / "imagenet-c" / "snow" / "4" / "bee")
    with pytest.raises(ValueError, match=r"snow/4 has 4 classes, expected 5"):
        measure(tmp_path / "out", rigged, sets)


def test_a_class_without_images_is_named(tmp_path, rigged, sets):
    (sets / "imagenet-c" / "snow" / "4" / "bee" / "0.JPEG").unlink()
    with pytest.raises(ValueError, match=r"snow/4/bee has no images"):
        measure(tmp_path / "out", rigged, sets)


def test_the_subsets_of_imagenet_have_200_classes_for_a_classifier_of_1000(tmp_path):
    trained = tuple(f"n{i:08}" for i in range(1000))

    def samples(count):
        names = torch.arange(count).numpy().astype(bytes)
        return Samples(tmp_path, names, torch.arange(count).numpy(), trained[700 : 700 + count])

    assert class_index("imagenet-a", samples(200), trained) == tuple(range(700, 900))
    for part, count in (("imagenet-a", 199), ("imagenet-r", 201), ("sketch", 200)):
        expected = 1000 if part == "sketch" else 200
        with pytest.raises(ValueError, match=f"has {count} classes, expected {expected}"):
            class_index(part, samples(count), trained)
    assert len(class_index("imagenet-a", samples(3), trained[:900])) == 3


def test_corrupted_images_are_taken_as_they_are():
    pixels = torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8)
    assert torch.equal(square_view(64)(pixels, random.Random(0)), pixels)
    assert not torch.equal(eval_view(64)(pixels, random.Random(0)), pixels)
    larger = square_view(32)(pixels, random.Random(0))
    assert larger.shape == (3, 32, 32)
    with pytest.raises(ValueError, match="is 64x48 pixels, expected a square"):
        square_view(64)(pixels[:, :, :48], random.Random(0))


def test_a_plain_encoder_is_refused_with_the_next_step(tmp_path, write, sets):
    with pytest.raises(ValueError, match=r"is an encoder, expected .* imagenet_finetune"):
        measure(tmp_path / "out", write(), sets)


def test_what_is_measured_already_is_not_measured_again(tmp_path, rigged, sets):
    out = tmp_path / "out"
    found = measure(out, rigged, sets)
    lost, damaged = (out / f"predictions-{name}.parquet" for name in ("sketch", "imagenet-r"))
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:100])
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    assert measure(out, rigged, sets) == found
    after = {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    assert {path for path in after if after[path] != before.get(path)} == {lost, damaged}


def test_fine_tuning_leaves_the_very_classifier_that_it_scored(tmp_path, write, roots):
    out = tmp_path / "tuned"
    out.mkdir()
    top1 = finetune(FINETUNE, Context(out, 3, roots["imagenet"], write()))["top1"]
    given = read_classifier(out / CLASSIFIER)
    samples = read_samples(roots["imagenet"], "val")
    assert given.classes == samples.classes
    predictions = predict(given.model(), Views(samples, eval_view(64), seed=0))
    assert predictions.accuracy() == top1
    kept = pq.read_table(out / PREDICTIONS)
    assert kept["probability"].to_pylist() == predictions.probability.tolist()
    assert any("epochs 2, published 100" in text for text in given.deviations)


def test_the_same_classifier_gives_the_same_numbers_and_another_one_others(
    tmp_path, write, roots, sets
):
    classes = read_samples(roots["imagenet"], "val").classes
    data = make_shifted(tmp_path / "data", classes, sets=("imagenet-a",))
    texts, features = [], []
    for seed, encoder in ((3, write(0)), (3, write(0)), (3, write(1))):
        out = tmp_path / str(len(texts))
        out.mkdir()
        finetune(FINETUNE, Context(out, seed, roots["imagenet"], encoder))
        measure(out / "shifted", out / CLASSIFIER, data, seed, sets=("imagenet-a",))
        table = pq.read_table(out / "shifted" / "predictions-imagenet-a.parquet")
        texts.append(table["probability"].to_pylist())
        with torch.no_grad():
            features.append(read_classifier(out / CLASSIFIER).model().features(IMAGES))
    assert texts[0] == texts[1] != texts[2]
    assert torch.equal(features[0], features[1])
    assert (features[0] - features[2]).abs().mean() > 0.1


def call(*words, cwd):
    return subprocess.run(
        [PROGRAM, *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_the_command_line_measures_a_classifier_and_refuses_an_encoder(
    tmp_path, rigged, sets, write
):
    words = ("transfer", "imagenet_robustness", "--imagenet-robustness", sets, "--sets")
    answer = call(*words, "imagenet-a", "sketch", "--encoder", rigged, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "ImageNet-A top-1 80.0%, ImageNet-Sketch top-1 60.0%" in answer.stdout
    answer = call(*words, "imagenet-a", "--encoder", write(), cwd=tmp_path)
    assert answer.returncode == 2
    assert "is no classifier.safetensors as imagenet_finetune leaves it" in answer.stderr
    shutil.rmtree(sets / "imagenet-r")
    answer = call(*words[:-1], "--encoder", rigged, cwd=tmp_path)
    assert answer.returncode == 3
    assert f"no folder {sets}/imagenet-r; it needs imagenet-c/<corruption>" in answer.stderr


def test_two_processes_predict_every_image_once_and_as_one_does(tmp_path, rigged, sets):
    words = ("transfer", "imagenet_robustness", "--imagenet-robustness", sets, "--encoder", rigged)
    measure(tmp_path / "one", rigged, sets, sets=("imagenet-a", "sketch"))
    rest = ("--sets", "imagenet-a", "sketch", "--gpus", "2", "--store", "two")
    answer = call(*words, *rest, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    for name in ("predictions-imagenet-a.parquet", "predictions-sketch.parquet"):
        (path,) = (tmp_path / "two").glob(f"*/{name}")
        one = pq.read_table(tmp_path / "one" / name)
        two = pq.read_table(path)
        assert two.drop(["probability"]).equals(one.drop(["probability"]))
        pairs = zip(one["probability"].to_pylist(), two["probability"].to_pylist(), strict=True)
        assert all(a == pytest.approx(b, rel=1e-5) for a, b in pairs)


def test_a_suite_chains_encoder_fine_tuning_and_robustness(tmp_path, roots):
    classes = read_samples(roots["imagenet"], "val").classes
    make_shifted(tmp_path / "data", classes, sets=("imagenet-a",))
    (tmp_path / "mine.toml").write_text(
        """name = "mine"
        [encoders.Random]
        recipe = "random_init"
        arch = "vit_smoke_patch8"
        image_size = 64
        [[tasks]]
        recipe = "imagenet_finetune"
        size = "demo"
        epochs = 2
        batch_size = 8
        [[tasks]]
        recipe = "imagenet_robustness"
        sets = ["imagenet-a"]
        """
    )
    words = ("run", "--suite", "mine.toml", "--imagenet", roots["imagenet"])
    answer = call(*words, "--imagenet-robustness", tmp_path / "data", cwd=tmp_path)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "3 jobs" in answer.stdout
    board = json.loads((tmp_path / "results" / "mine" / "leaderboard.json").read_text())
    values = {cell["metric"]: cell["mean"] for cell in board["cells"]}
    assert values["top1"] is not None
    assert values["top1_a"] is not None
    assert values["mce"] is None
    text = (tmp_path / "results" / "mine" / "leaderboard.md").read_text()
    assert "0/1" not in text
    assert "No number" not in text
