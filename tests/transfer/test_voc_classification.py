import json

import numpy as np
import pandas as pd
import pytest
import torch
from detectron2.evaluation.pascal_voc_evaluation import voc_ap
from sklearn.svm import LinearSVC

from mae_bench.core.demo_data import DemoData, demo_roots
from mae_bench.core.recipe import Context
from mae_bench.kit.datasets import Views
from mae_bench.kit.encoder import read_encoder
from mae_bench.kit.features import pooled_batches
from mae_bench.kit.images import eval_view
from mae_bench.kit.vit import VisionTransformer
from mae_bench.kit.voc_files import MAIN_2007, VOC_CLASSES
from mae_bench.kit.voc_scenes import NAMES, add_voc
from transfer.svm_solver import svm, train_class
from transfer.voc_classification import VocClassification
from transfer.voc_svm import average_precision, measurable, read_split

COSTS = (0.1, 1.0, 10.0)
RECIPE = VocClassification(image_size=64, costs=COSTS)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("svm")
    add_voc(root, DemoData(num_train_scenes=48, num_val_scenes=8, scene_side=48))
    return demo_roots(root)["voc"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(out, data, encoder, seed=0):
    out.mkdir(exist_ok=True)
    metrics = RECIPE.run(Context(out, seed, data, encoder))
    return metrics, pd.read_parquet(out / "predictions.parquet")


def unit_features(encoder, samples):
    """Return the tokens that the encoder itself pools, of length 1, in float64."""
    model = VisionTransformer(read_encoder(encoder).spec).eval().requires_grad_(False)
    model.load_state_dict(read_encoder(encoder).state)
    views = Views(samples, eval_view(64), seed=0)
    tokens = torch.cat(list(pooled_batches(model, views, range(len(samples)), torch.float32)))
    return (tokens / tokens.norm(dim=1, keepdim=True)).double().numpy()


def slow_precision(scores, labels):
    """Return both average precisions by loops, from the definitions in words."""
    order = sorted((i for i in range(len(scores)) if labels[i]), key=lambda i: -scores[i])
    total = sum(1 for i in order if labels[i] == 1)
    curve, hits = [], 0
    for rank, i in enumerate(order, start=1):
        hits += labels[i] == 1
        curve.append((hits / total, hits / rank))
    area = 0.0
    for k in range(1, total + 1):
        area += max(p for r, p in curve if r >= k / total - 1e-12) / total
    points = [max((p for r, p in curve if r >= t / 10 - 1e-12), default=0) for t in range(11)]
    return 100 * area, 100 * sum(points) / 11


def test_precisions_are_those_of_a_double_loop_and_of_detectron2():
    rng = np.random.default_rng(0)
    for count in (5, 37, 400):
        scores = rng.normal(size=count)
        labels = rng.choice([-1, 0, 1], size=count, p=[0.6, 0.1, 0.3])
        labels[0] = 1
        found = average_precision(scores, labels)
        assert found == pytest.approx(slow_precision(scores, labels))
        kept = labels != 0
        right = labels[kept][np.argsort(-scores[kept])] == 1
        recall = np.cumsum(right) / right.sum()
        precision = np.cumsum(right) / np.arange(1, len(right) + 1)
        theirs = [100 * voc_ap(recall, precision, use_07_metric=old) for old in (False, True)]
        assert found[0] == pytest.approx(theirs[0])
        # detectron2 counts its recalls in steps of 0.1 and may miss one by rounding
        assert found[1] == pytest.approx(theirs[1], abs=100 / 11)


def test_a_perfect_order_is_100_percent_and_difficult_images_do_not_count():
    labels = np.array([1, 1, 0, -1, -1])
    assert average_precision(np.array([5.0, 4.0, 9.0, 3.0, 2.0]), labels) == (100, 100)
    assert average_precision(np.array([5.0, 1.0, 9.0, 3.0, 2.0]), labels)[0] == pytest.approx(75)


def test_the_svm_has_its_closed_form_on_two_images():
    """Of x = +-1 with costs 2C and C, the margins u of the first and v of the second minimise
    u^2 / 4 + 2C (1 - u)^2 and v^2 / 4 + C (1 - v)^2, the offset being part of the length."""
    for cost in (0.1, 1.0):
        fitted = svm(RECIPE, 0, cost).fit(np.array([[1.0], [-1.0]]), [1, -1])
        u, v = 4 * cost / (0.5 + 4 * cost), 2 * cost / (0.5 + 2 * cost)
        found = fitted.decision_function(np.array([[1.0], [-1.0]]))
        assert found == pytest.approx([u, -v], abs=1e-3)


def test_separable_classes_are_separated_and_difficult_images_are_negatives():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(120, 5))
    labels = np.where(features[:, 0] > 0.3, 1, -1)
    tests = rng.normal(size=(60, 5))
    found = train_class(RECIPE, 0, features, labels, tests)
    assert average_precision(found.scores, np.where(tests[:, 0] > 0.3, 1, -1))[0] > 97
    assert found.cost == COSTS[int(np.argmax(found.tried))]
    unclear = labels.copy()
    unclear[labels == -1] = rng.choice([0, -1], size=(labels == -1).sum())
    again = train_class(RECIPE, 0, features, unclear, tests)
    assert np.array_equal(again.scores, found.scores)


def test_a_class_needs_images_for_every_fold_and_one_for_the_test():
    train = np.full((12, 4), -1)
    train[:3, 0] = train[:2, 1] = train[:3, 2] = 1
    train[:11, 3] = 1
    test = np.full((4, 4), -1)
    test[0, [0, 1, 3]] = 1
    test[0, 2] = 0
    assert measurable(train, test, 3) == [0]
    with pytest.raises(ValueError, match=r"no class has 3 training images .*ImageSets/Main"):
        measurable(train[3:], test, 3)


def test_a_run_gives_what_its_predictions_and_features_give(tmp_path, write, scenes):
    encoder = write()
    metrics, predictions = run(tmp_path / "out", scenes, encoder)
    shown = [name for name in VOC_CLASSES if f"score_{name}" in predictions]
    assert set(shown) <= set(NAMES.values())
    assert len(shown) >= 4
    pairs = [
        slow_precision(
            predictions[f"score_{name}"].to_numpy(), predictions[f"label_{name}"].to_numpy()
        )
        for name in shown
    ]
    expected = dict(zip(("voc07_map", "voc07_map11"), np.mean(pairs, axis=0), strict=True))
    assert metrics == pytest.approx(expected, abs=1e-3)
    test = read_split(scenes, "test")
    assert predictions["image"].tolist() == [f"{i}" for i in test.samples.names.astype(str)]
    facts = json.loads((tmp_path / "out" / "facts.json").read_text())
    train = read_split(scenes, "trainval")
    rows, tests = (unit_features(encoder, split.samples) for split in (train, test))
    for name in shown:
        theirs = LinearSVC(
            C=facts["per_class"][name]["cost"],
            class_weight={1: 2, -1: 1},
            max_iter=2000,
            random_state=0,
        ).fit(rows, np.where(train.labels[:, VOC_CLASSES.index(name)] == 1, 1, -1))
        scores = predictions[f"score_{name}"].to_numpy()
        np.testing.assert_allclose(scores, theirs.decision_function(tests), atol=0.02)
    assert facts["data"] == {"classes": len(shown), "images": 24, "test_images": 8}
    assert f"mean over {len(shown)} of 20 classes" in facts["deviations"][0]
    assert set(facts["per_class"]) == set(shown)


def test_another_encoder_gives_other_scores_and_another_seed_nearly_the_same(
    tmp_path, write, scenes
):
    first = run(tmp_path / "a", scenes, write(0))
    again = run(tmp_path / "b", scenes, write(0), seed=1)
    other = run(tmp_path / "c", scenes, write(1))
    column = next(name for name in first[1] if name.startswith("score_"))
    assert np.abs(first[1][column] - again[1][column]).max() < 0.05
    assert np.abs(first[1][column] - other[1][column]).max() > 0.05


def test_classes_that_are_finished_are_not_trained_again(tmp_path, write, scenes):
    out, encoder = tmp_path / "out", write()
    metrics, _ = run(out, scenes, encoder)
    kept = sorted((out / "scores").iterdir())
    times = [path.stat().st_mtime_ns for path in kept]
    kept[0].write_bytes(kept[0].read_bytes()[:50])  # killed while the disk was full
    kept[1].unlink()
    assert run(out, scenes, encoder)[0] == metrics
    assert [path.stat().st_mtime_ns for path in kept[2:]] == times[2:]
    assert kept[0].stat().st_mtime_ns > times[0]


def test_labels_come_from_the_lists_of_2007(scenes):
    split = read_split(scenes, "trainval")
    lines = (scenes / MAIN_2007 / "bird_trainval.txt").read_text().split()
    assert split.labels[:, VOC_CLASSES.index("bird")].tolist() == [int(n) for n in lines[1::2]]
    assert split.labels.shape == (24, 20)
