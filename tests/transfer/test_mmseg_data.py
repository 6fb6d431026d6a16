import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mae_bench.core.compute import Compute
from mae_bench.kit.datasets import TRIES, BatchesFrom, Order
from mae_bench.kit.machine import Machine
from mae_bench.kit.ranks import Ranks
from mae_bench.kit.split import split_batch
from transfer.ade20k_upernet import Ade20kUperNet
from transfer.mmseg_adapter.data import (
    SeededScenes,
    build_dataset,
    eval_loader,
    plain_labels,
    train_loader,
    train_order,
)
from transfer.mmseg_adapter.labels import LoadLabels
from transfer.mmseg_adapter.toolbox import import_mmseg
from transfer.voc_segmentation import VocSegmentation

TINY = dataclasses.replace(
    Ade20kUperNet.demo(),
    crop_size=32,
    stride=16,
    short_side=64,
    long_side=128,
    iterations=4,
    warmup_iterations=1,
    batch_size=4,
)


def read_like_mmsegmentation(path, reduce):
    """Return the label map as mmsegmentation's own transform reads it."""
    import_mmseg()
    from mmseg.datasets.transforms import LoadAnnotations

    sample = {"seg_map_path": str(path), "seg_fields": [], "reduce_zero_label": reduce}
    return LoadAnnotations(reduce_zero_label=reduce)(sample)["gt_seg_map"]


def png(path, labels, kind):
    Image.fromarray(np.asarray(labels, kind)).save(path)
    return path


@pytest.mark.parametrize("reduce", [True, False])
def test_labels_in_bytes_are_read_as_mmsegmentation_does(tmp_path, reduce):
    labels = np.arange(256).reshape(16, 16)
    labels[labels > 149] = 255
    path = png(tmp_path / "a.png", labels, np.uint8)
    found = LoadLabels(reduce, 150).read(path)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, read_like_mmsegmentation(path, reduce))


def test_labels_of_16_bits_are_whole(tmp_path):
    """mmsegmentation's own transform takes 300 for 44; if this fails, upstream has mended it."""
    path = png(tmp_path / "a.png", [[0, 1, 255, 256, 300, 65535]], np.uint16)
    found = LoadLabels(True, 300).read(path)
    assert found.dtype == np.uint16
    assert found.tolist() == [[65535, 0, 254, 255, 299, 65535]]
    assert read_like_mmsegmentation(path, True).ravel()[4] == 43
    narrow = png(tmp_path / "b.png", [[0, 1, 150, 255]], np.uint16)
    assert LoadLabels(True, 150).read(narrow).tolist() == [[255, 0, 149, 255]]


@pytest.mark.parametrize(
    ("labels", "kind", "classes", "reduce"),
    [
        ([[0, 151]], np.uint8, 150, True),
        ([[0, 150]], np.uint8, 150, False),
        ([[0, 256]], np.uint16, 150, True),
        ([[0, 257]], np.uint16, 256, True),
    ],
)
def test_a_label_above_the_classes_is_refused_by_file(tmp_path, labels, kind, classes, reduce):
    path = png(tmp_path / "odd.png", labels, kind)
    with pytest.raises(ValueError, match=rf"odd\.png has label {max(labels[0])}, expected"):
        LoadLabels(reduce, classes).read(path)


def test_a_picture_in_colour_is_no_label_map(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "rgb.png")
    with pytest.raises(ValueError, match=r"rgb\.png is no label map: .* got RGB"):
        LoadLabels(True, 3).read(tmp_path / "rgb.png")


def test_label_zero_is_ignored_and_the_others_move_down(roots):
    import_mmseg()
    dataset = build_dataset(TINY, roots["ade20k"], "test")
    found = dataset[0]["data_samples"].gt_sem_seg.data.squeeze(0).numpy()
    path = roots["ade20k"] / "annotations" / "validation" / "ADE_val_00000001.png"
    label = np.asarray(Image.open(path)).astype(int)
    assert np.array_equal(found, np.where(label == 0, 255, label - 1))
    assert len(dataset) == 8


@pytest.fixture
def own(tmp_path):
    """Return data in ADE20K's format with 300 classes in 16-bit maps and PNG images."""
    rng = np.random.default_rng(0)
    for split in ("training", "validation"):
        for kind in ("images", "annotations"):
            (tmp_path / kind / split).mkdir(parents=True)
        for i in range(4):
            pixels = rng.integers(0, 255, (64, 80, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / split / f"{i}.png")
            labels = rng.integers(0, 301, (64, 80))
            png(tmp_path / "annotations" / split / f"{i}.png", labels, np.uint16)
    (tmp_path / "classes.txt").write_text("".join(f"class {i}\n" for i in range(300)))
    return tmp_path


def test_data_with_many_classes_of_its_own_goes_through_the_pipelines(own):
    import_mmseg()
    for part in ("train", "test"):
        dataset = build_dataset(TINY, own, part)
        label = dataset[0]["data_samples"].gt_sem_seg.data
        kept = label[label != 65535]
        assert kept.max() > 255
        assert kept.max() < 300
    name = plain_labels(TINY, 300)["type"]
    from mmseg.registry import TRANSFORMS

    built = TRANSFORMS.build(plain_labels(TINY, 300))
    assert (type(built).__name__, built.num_classes) == ("LoadLabels", 300)
    assert name.endswith("labels.LoadLabels")
    assert plain_labels(TINY, 150)["type"] == "LoadAnnotations"


def test_images_of_several_suffixes_are_refused(own):
    (own / "images" / "training" / "9.jpg").write_bytes(b"")
    import_mmseg()
    with pytest.raises(ValueError, match=r"images of one suffix, got \['\.jpg', '\.png'\]"):
        build_dataset(TINY, own, "train")


def loader(recipe, root, start, rank=0, world=1, micro=4):
    scenes = SeededScenes(build_dataset(recipe, root, "train"), 3)
    order = train_order(recipe, len(scenes.dataset), 3)
    split = split_batch(recipe.batch_size, rank, world, micro)
    return list(train_loader(scenes, BatchesFrom(order, start, split), 0))


def test_batches_are_the_same_from_any_start_and_however_they_are_divided(roots):
    import_mmseg()
    whole = loader(TINY, roots["ade20k"], 0)
    late = loader(TINY, roots["ade20k"], 2)
    assert len(late) == len(whole) - 2
    for a, b in zip(whole[2:], late, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a["inputs"], b["inputs"], strict=True))
    parts = [loader(TINY, roots["ade20k"], 0, rank, 2, 1) for rank in (0, 1)]
    for step in range(3):
        images = [part["inputs"][0] for rank in (0, 1) for part in parts[rank][2 * step :][:2]]
        for one, other in zip(whole[step]["inputs"], images, strict=True):
            assert torch.equal(one, other)


def test_the_order_holds_all_iterations():
    assert train_order(TINY, 12, 0) == Order(12, 4, 2, 0)
    with pytest.raises(ValueError, match="batch_size 4 is larger than the training set"):
        train_order(TINY, 3, 0)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_test_image_is_read_once_over_all_ranks(roots, world):
    import_mmseg()
    dataset = build_dataset(TINY, roots["ade20k"], "test")
    seen = []
    for rank in range(world):
        machine = Machine(Ranks(rank, world, torch.device("cpu")), Compute())
        for batch in eval_loader(dataset, machine):
            seen += [sample.img_path for sample in batch["data_samples"]]
    assert sorted(seen) == [dataset.get_data_info(i)["img_path"] for i in range(8)]


def test_voc_takes_its_lists_and_background_is_the_first_class(devkit):
    import_mmseg()
    recipe = dataclasses.replace(VocSegmentation.demo(), short_side=64, crop_size=32, stride=16)
    dataset = build_dataset(recipe, devkit, "test")
    lists = devkit / "VOC2012" / "ImageSets" / "Segmentation"
    assert len(dataset) == len((lists / "val.txt").read_text().split())
    assert len(build_dataset(recipe, devkit, "train")) == len(
        (lists / "train.txt").read_text().split()
    )
    info = dataset.get_data_info(0)
    label = dataset[0]["data_samples"].gt_sem_seg.data.squeeze(0).numpy()
    assert np.array_equal(label, np.asarray(Image.open(info["seg_map_path"])))
    assert (label == 0).any()
    assert dataset.metainfo["classes"][:2] == ("background", "aeroplane")
    assert len(dataset.metainfo["classes"]) == 21
    from mmseg.datasets import PascalVOCDataset

    assert tuple(recipe.class_names(devkit)) == PascalVOCDataset.METAINFO["classes"]


def test_a_list_that_is_not_there_is_named(devkit):
    import_mmseg()
    recipe = dataclasses.replace(VocSegmentation.demo(), train_list="trainaug")
    with pytest.raises(ValueError, match="SegmentationClassAug to train on, and it is not there"):
        build_dataset(recipe, devkit, "train")


def test_a_list_with_a_blank_line_is_refused_by_its_number(devkit, tmp_path):
    """mmsegmentation takes the line for an image without a name; else this needs no refusal."""
    import_mmseg()
    root = tmp_path / "voc"
    shutil.copytree(devkit, root)
    names = root / "VOC2012" / "ImageSets" / "Segmentation" / "train.txt"
    whole = names.read_text()
    recipe = VocSegmentation.demo()
    number = len(build_dataset(recipe, root, "train"))
    names.write_text(whole.rstrip() + "\n\n")
    with pytest.raises(ValueError, match=rf"train\.txt has no name in line {number + 1}"):
        build_dataset(recipe, root, "train")
    names.write_text(whole.rstrip())  # without a last newline it is whole
    assert len(build_dataset(recipe, root, "train")) == number


@pytest.fixture
def scenes(roots, tmp_path):
    """Return training images of its own, whose files a test may spoil."""
    import_mmseg()
    shutil.copytree(roots["ade20k"], tmp_path / "ade20k")
    return SeededScenes(build_dataset(TINY, tmp_path / "ade20k", "train"), 3)


@pytest.mark.parametrize("file", ["img_path", "seg_map_path"])
@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_a_file_that_cannot_be_read_is_replaced_by_the_next(scenes, file, content):
    whole = [scenes[0, index] for index in (1, 3)]
    path = Path(scenes.dataset.get_data_info(2)[file])
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    found = scenes[0, 2]
    assert Path(found["data_samples"].img_path).name == Path(whole[1]["data_samples"].img_path).name
    index, reason = found["data_samples"].unreadable
    assert index == 2
    assert reason.startswith(scenes.dataset.get_data_info(2)["img_path"])
    assert torch.equal(scenes[0, 2]["inputs"], found["inputs"])  # whoever asks
    assert torch.equal(scenes[0, 1]["inputs"], whole[0]["inputs"])
    assert "unreadable" not in scenes[0, 1]["data_samples"]


def test_a_wrong_label_is_no_unreadable_image(scenes):
    path = Path(scenes.dataset.get_data_info(2)["seg_map_path"])
    png(path, np.full((64, 64), 200), np.uint8)
    with pytest.raises(ValueError, match="has label 200, expected 1 to 12"):
        scenes[0, 2]


def test_when_nothing_can_be_read_it_says_what_was_tried(scenes):
    for index in range(len(scenes.dataset)):
        Path(scenes.dataset.get_data_info(index)["img_path"]).write_bytes(b"")
    with pytest.raises(ValueError, match=f"{TRIES} images in a row cannot be read, first .*jpg"):
        scenes[0, 2]
