import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mae_bench.report.per_image import (
    MEMORY,
    RESAMPLES,
    Refusal,
    Replicates,
    replicates,
    samples,
)

IMAGES = 500


def keep_answers(root: Path, right: np.ndarray, key: str = "job") -> float:
    """Write a classifier's predictions; return their accuracy in percent."""
    names = [f"class/{i:04}.jpg" for i in range(len(right))]
    labels = np.arange(len(right)) % 7
    frame = pd.DataFrame({"image": names, "label": labels, "top1": labels + ~right})
    (root / key).mkdir(parents=True, exist_ok=True)
    frame.to_parquet(root / key / "predictions.parquet")
    return 100.0 * float(right.mean())


def keep_areas(root: Path, areas: pd.DataFrame, key: str = "job") -> None:
    (root / key).mkdir(parents=True, exist_ok=True)
    areas.to_parquet(root / key / "per_image.parquet")


@pytest.fixture
def answers() -> np.ndarray:
    return np.random.default_rng(0).random(IMAGES) < 0.8


def of_job(root: Path, value: float, key: str = "job") -> Replicates:
    found = replicates(root, key, "correct", "top1", value)
    assert isinstance(found, Replicates)
    return found


def test_the_spread_of_an_accuracy_is_that_of_the_binomial(
    tmp_path: Path, answers: np.ndarray
) -> None:
    value = keep_answers(tmp_path, answers)
    found = of_job(tmp_path, value)
    share = answers.mean()
    assert found.values.shape == (RESAMPLES,)
    assert found.values.mean() == pytest.approx(value, abs=0.2)
    expected = 100 * np.sqrt(share * (1 - share) / IMAGES)
    assert found.values.std() == pytest.approx(expected, rel=0.1)


def test_each_sample_is_as_large_as_the_set_and_the_same_every_time() -> None:
    one, other = (np.concatenate(list(samples(30))) for _ in range(2))
    assert one.shape == (RESAMPLES, 30)
    assert (one.sum(axis=1) == 30).all()
    assert (one == other).all()
    assert len(np.unique(one, axis=0)) == RESAMPLES
    assert one.mean(axis=0) == pytest.approx(np.ones(30), abs=0.15)  # 5 sd of 1000 draws


def test_samples_are_paired_whatever_the_order_of_the_file(
    tmp_path: Path, answers: np.ndarray
) -> None:
    value = keep_answers(tmp_path, answers)
    keep_answers(tmp_path, answers, "other")
    path = tmp_path / "other" / "predictions.parquet"
    pd.read_parquet(path).iloc[::-1].to_parquet(path)
    one, other = of_job(tmp_path, value), of_job(tmp_path, value, "other")
    assert one.images == other.images
    assert (one.values == other.values).all()


def test_other_images_or_labels_have_another_hash(tmp_path: Path, answers: np.ndarray) -> None:
    value = keep_answers(tmp_path, answers)
    before = of_job(tmp_path, value).images
    path = tmp_path / "job" / "predictions.parquet"
    frame = pd.read_parquet(path)
    frame[["label", "top1"]] += 1
    frame.to_parquet(path)
    labels = of_job(tmp_path, value).images
    frame["image"] = "new " + frame["image"]
    frame.to_parquet(path)
    assert len({before, labels, of_job(tmp_path, value).images}) == 3


def test_mean_iou_of_samples_sums_pixels_before_it_divides(tmp_path: Path) -> None:
    rows = [  # image, class, intersection, prediction, truth
        ("a", 0, 6, 8, 10),
        ("a", 2, 5, 9, 5),
        ("b", 0, 1, 5, 2),
        ("b", 3, 0, 3, 0),
    ]
    columns = ["image", "class", "intersection", "prediction", "truth"]
    keep_areas(tmp_path, pd.DataFrame(rows, columns=columns))
    # class 0: 7 of 13 + 12 - 7; class 2: 5 of 9; class 3: 0 of 3; class 1 is nowhere
    whole = 100 * (7 / 18 + 5 / 9 + 0) / 3
    found = replicates(tmp_path, "job", "overlaps", "miou", whole)
    assert isinstance(found, Replicates)
    only_a, only_b = 100 * (6 / 12 + 5 / 9) / 2, 100 * (1 / 6 + 0) / 2
    assert sorted(set(found.values.round(9))) == pytest.approx(sorted([only_a, only_b, whole]))
    assert np.mean(found.values.round(6) == round(whole, 6)) == pytest.approx(0.5, abs=0.08)


def test_a_number_that_does_not_come_out_again_is_refused(
    tmp_path: Path, answers: np.ndarray
) -> None:
    value = keep_answers(tmp_path, answers)
    found = replicates(tmp_path, "job", "correct", "top1", value + 0.001)
    assert found == Refusal(
        f"predictions.parquet gives top1 {value:.6f}, the result says {value + 0.001:.6f}"
    )


def test_what_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    keep_answers(tmp_path, np.ones(3, bool))
    path = tmp_path / "job" / "predictions.parquet"
    path.write_bytes(path.read_bytes()[:100])
    found = replicates(tmp_path, "job", "correct", "top1", 100.0)
    assert isinstance(found, Refusal)
    assert found.reason.startswith("predictions.parquet cannot be read (ArrowInvalid")


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("image", [None, "b"]),
        ("class", [0.5, 1.5]),
        ("class", ["sky", "sea"]),
        ("truth", ["1", "2"]),
        ("intersection", [float("nan")] * 2),
    ],
)
def test_columns_of_another_kind_are_refused_and_hurt_nobody(
    tmp_path: Path, column: str, values: list[object]
) -> None:
    areas = {"image": ["a", "b"], "class": [0, 1]}
    areas |= {name: [4, 2] for name in ("intersection", "prediction", "truth")}
    keep_areas(tmp_path, pd.DataFrame(areas | {column: values}))
    assert isinstance(replicates(tmp_path, "job", "overlaps", "miou", 50.0), Refusal)


def test_a_class_of_a_large_number_takes_no_more_memory(tmp_path: Path) -> None:
    areas = {"image": ["a", "b"], "class": [0, 10**15]}
    areas |= {name: [4, 2] for name in ("intersection", "prediction", "truth")}
    keep_areas(tmp_path, pd.DataFrame(areas))
    found = replicates(tmp_path, "job", "overlaps", "miou", 100.0)
    assert isinstance(found, Replicates) and set(found.values) == {100.0}


def test_a_job_that_kept_nothing_has_no_replicates(tmp_path: Path) -> None:
    assert replicates(tmp_path, "job", "matches", "box_ap", 10.0) is None
    assert replicates(tmp_path, "job", "", "loss", 0.5) is None


def test_a_second_report_takes_what_is_remembered(tmp_path: Path, answers: np.ndarray) -> None:
    value = keep_answers(tmp_path, answers)
    first = of_job(tmp_path, value)
    path = tmp_path / "job" / "predictions.parquet"
    times = path.stat().st_mtime_ns, path.stat().st_size
    path.write_bytes(b"x" * times[1])
    os.utime(path, ns=(times[0], times[0]))  # nothing shows that it is another file
    again = of_job(tmp_path, value)
    assert (again.values == first.values).all()
    assert (again.images, again.value) == (first.images, value)
    path.touch()
    assert isinstance(replicates(tmp_path, "job", "correct", "top1", value), Refusal)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"x" * 500])
def test_a_damaged_memory_is_made_anew(tmp_path: Path, answers: np.ndarray, content: bytes) -> None:
    value = keep_answers(tmp_path, answers)
    first = of_job(tmp_path, value)
    memory = tmp_path / MEMORY / "job-top1.npz"
    good = memory.read_bytes()
    memory.write_bytes(content)
    assert (of_job(tmp_path, value).values == first.values).all()
    assert memory.read_bytes() == good


def test_a_store_that_cannot_remember_does_without(tmp_path: Path, answers: np.ndarray) -> None:
    value = keep_answers(tmp_path, answers)
    (tmp_path / MEMORY.parts[0]).write_text("a file where the folder should be")
    assert of_job(tmp_path, value).value == value
