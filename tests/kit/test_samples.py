import io
import tarfile
import time

import numpy as np
import pytest
from PIL import Image

from mae_bench.kit import samples as module
from mae_bench.kit.decode import decode
from mae_bench.kit.layouts import check
from mae_bench.kit.samples import read_samples
from mae_bench.kit.shards import make_shards


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def tree(tmp_path):
    """Return a folder of 3 classes with 4 training and 2 validation images each."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for name in ("cat", "dog", "élan"):
            folder = tmp_path / "tree" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 255, (9, 7, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}_{i}.v1.JPEG", "JPEG")
            (folder / "notes.txt").write_text("no image")
    return tmp_path / "tree"


def everything(samples):
    """Return label and bytes of every image, in an order of its own."""
    return sorted((int(samples.labels[i]), samples.read(i)) for i in range(len(samples)))


def test_a_folder_is_listed_by_class_and_name(tree):
    found = read_samples(tree, "train")
    assert found.classes == ("cat", "dog", "élan")
    assert found.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert found.name(11) == str(tree / "train" / "élan" / "élan_3.v1.JPEG")
    assert found.read(11) == (tree / "train" / "élan" / "élan_3.v1.JPEG").read_bytes()


def test_the_second_start_does_not_list_again_until_a_folder_changes(tree, monkeypatch):
    first = read_samples(tree, "train")
    scan = module._scan
    monkeypatch.setattr(module, "_scan", lambda *words: pytest.fail("listed again"))
    assert everything(read_samples(tree, "train")) == everything(first)
    monkeypatch.setattr(module, "_scan", scan)
    time.sleep(0.01)
    (tree / "train" / "dog" / "dog_0.v1.JPEG").unlink()
    assert len(read_samples(tree, "train")) == 11


def test_a_damaged_listing_is_made_again(tree, tmp_path):
    read_samples(tree, "train")
    kept = next((tmp_path / "cache").rglob("*.npz"))
    kept.write_bytes(kept.read_bytes()[:-30])
    assert len(read_samples(tree, "train")) == 12


def test_without_a_place_for_the_listing_the_images_are_still_found(tree, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(read_samples(tree, "train")) == 12


def test_shards_hold_the_same_images_and_labels(tree, tmp_path):
    made = make_shards(tree, tmp_path / "shards", images_per_shard=5)
    assert [path.name for path in made] == [
        *(f"train-{i:06d}.tar" for i in range(3)),
        *(f"val-{i:06d}.tar" for i in range(2)),
    ]
    assert check("imagenet", tmp_path / "shards") == []
    for split in ("train", "val"):
        sharded, plain = (read_samples(root, split) for root in (tmp_path / "shards", tree))
        for i in range(len(plain)):  # in the same order, so that both give the same batches
            assert sharded.labels[i] == plain.labels[i]
            assert sharded.read(i) == plain.read(i)
        assert sharded.classes == plain.classes
        assert decode(sharded.read(3)).shape == (3, 9, 7)


def test_packing_again_keeps_whole_shards_and_makes_the_same_bytes(tree, tmp_path):
    made = make_shards(tree, tmp_path / "shards", 5)
    before = {path: path.read_bytes() for path in made}
    made[1].unlink()
    stamp = made[0].stat().st_mtime_ns
    make_shards(tree, tmp_path / "shards", 5)
    assert {path: path.read_bytes() for path in made} == before
    assert made[0].stat().st_mtime_ns == stamp


def shard(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_shards_of_others_are_read_with_numbers_for_classes(tmp_path):
    members = {"a.jpg": b"1", "a.cls": b"1", "a.json": b"{}", "b/c.seg.png": b"2", "b/c.cls": b"0"}
    shard(tmp_path / "train" / "x.tar", members)
    found = read_samples(tmp_path, "train")
    assert found.classes == ("0", "1")
    assert everything(found) == [(0, b"2"), (1, b"1")]
    assert found.name(1) == f"{tmp_path}/train/x.tar/a.jpg"


def test_a_broken_shard_is_named(tree, tmp_path):
    path = make_shards(tree, tmp_path / "shards", 5)[0]
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"train-000000\.tar"):
        read_samples(tmp_path / "shards", "train")


def test_an_image_without_its_label_is_named(tmp_path):
    shard(tmp_path / "train" / "x.tar", {"a.jpg": b"1", "a.cls": b"1", "b.jpg": b"2"})
    with pytest.raises(ValueError, match=r"x\.tar: b lacks its image or its \.cls"):
        read_samples(tmp_path, "train")


def test_a_missing_or_empty_split_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no folder .*train"):
        read_samples(tmp_path, "train")
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(ValueError, match="has no images"):
        read_samples(tmp_path, "train")
