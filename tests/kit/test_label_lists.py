import hashlib

import numpy as np
import pytest

from mae_bench.kit.fingerprints import fingerprint
from mae_bench.kit.label_lists import labelled
from mae_bench.kit.samples import Samples


@pytest.fixture
def samples(tmp_path):
    """Return 40 images of each of 3 classes, n0/n0_0.JPEG and so on."""
    names = [f"n{c}/n{c}_{i}.JPEG".encode() for c in range(3) for i in range(40)]
    return Samples(
        tmp_path / "train", np.array(names), np.repeat(np.arange(3), 40), ("a", "b", "c")
    )


def test_a_list_in_the_data_root_decides(tmp_path, samples):
    (tmp_path / "1percent.txt").write_text("n2_7.JPEG\nn0_11.JPEG\n\nn1_0.JPEG\n")
    found = labelled(tmp_path, samples, 1, seed=0)
    assert found.indices.tolist() == [11, 40, 87]
    assert found.source == "1percent.txt"
    assert found.deviations == []
    expected = hashlib.sha256(b"n0/n0_11.JPEG\nn1/n1_0.JPEG\nn2/n2_7.JPEG\n").hexdigest()
    assert found.facts == {"source": "1percent.txt", "images": 3, "sha256": expected}
    assert labelled(tmp_path, samples, 10, seed=0).source == "seed 0"


def test_names_with_their_folder_are_found_too(tmp_path, samples):
    (tmp_path / "10percent.txt").write_text("n2/n2_7.JPEG\r\nn0/n0_11.JPEG\r\nn1_0.JPEG\r\n")
    assert labelled(tmp_path, samples, 10, seed=0).indices.tolist() == [11, 40, 87]


def test_without_a_list_the_seed_decides_and_that_is_a_deviation(tmp_path, samples):
    first, again, other = (labelled(tmp_path, samples, 10, seed) for seed in (3, 3, 4))
    assert np.bincount(samples.labels[first.indices]).tolist() == [4, 4, 4]
    assert (first.indices.tolist(), first.sha256) == (again.indices.tolist(), again.sha256)
    assert first.sha256 != other.sha256
    assert first.deviations == ["10 % of the labels by seed 3, published a list of images"]
    assert len(labelled(tmp_path, samples, 1, seed=0).indices) == 3  # at least one of each class


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["n0_1.JPEG", "n1_1.JPEG", "n2_99.JPEG"], r"1 of 3 listed images are not in .*n2_99"),
        (["n0_1.JPEG", "n1_1.JPEG", "n2_9.png"], r"expected names such as n0/n0_0\.JPEG"),
        (["n0_1.JPEG", "n1_1.JPEG"], r"1percent\.txt: class c has no labelled image"),
        (["n0_1.JPEG", "n1_1.JPEG", "n2_1.JPEG", "n1_1.JPEG"], r"n1_1\.JPEG .*listed twice"),
        (["n0_1.JPEG", "n1_1.JPEG", "n2_1.JPEG", "n2/n2_1.JPEG"], r"listed twice"),
        ([], r"class a has no labelled image"),
    ],
)
def test_what_is_wrong_with_a_list_is_said(tmp_path, samples, lines, message):
    (tmp_path / "1percent.txt").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=message):
        labelled(tmp_path, samples, 1, seed=0)


def test_a_name_in_two_classes_needs_its_folder(tmp_path):
    names = np.array([b"a/0.png", b"a/1.png", b"b/0.png"])
    samples = Samples(tmp_path / "train", names, np.array([0, 0, 1]), ("a", "b"))
    (tmp_path / "1percent.txt").write_text("1.png\n0.png\n")
    with pytest.raises(ValueError, match=r"0\.png names more than one image"):
        labelled(tmp_path, samples, 1, seed=0)
    (tmp_path / "1percent.txt").write_text("1.png\nb/0.png\n")
    assert labelled(tmp_path, samples, 1, seed=0).indices.tolist() == [1, 2]


def test_an_empty_class_is_named(tmp_path, samples):
    empty = Samples(samples.root, samples.names, samples.labels, (*samples.classes, "d"))
    with pytest.raises(ValueError, match="class d has no images"):
        labelled(tmp_path, empty, 10, seed=0)


def test_another_list_of_the_same_size_is_other_data(tmp_path):
    (tmp_path / "train" / "a").mkdir(parents=True)
    cache = tmp_path / "cache.json"
    root = tmp_path / "train"  # any folder will do
    found = [fingerprint("imagenet", root, cache)]
    for text in ("n0_1.JPEG\n", "n0_2.JPEG\n"):
        (root / "1percent.txt").write_text(text)
        found.append(fingerprint("imagenet", root, cache))
    assert len(set(found)) == 3
