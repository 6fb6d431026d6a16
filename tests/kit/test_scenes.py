import hashlib
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mae_bench.core.demo_data import DemoData, demo_roots
from mae_bench.kit.layouts import ade_class_names, check, class_names
from mae_bench.kit.scene_files import CATEGORY_IDS, make_demo, run_lengths, write_scenes
from mae_bench.kit.scene_files import Part as DataPart
from mae_bench.kit.scene_textures import PHOTOS, photo, region
from mae_bench.kit.scenes import STUFF, THINGS

SIZES = DemoData(num_train_images=16, num_val_images=16, num_train_scenes=70, num_val_scenes=48)


def hashes(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes") / "demo"
    make_demo(root, SIZES)
    return root


@pytest.fixture(scope="module")
def truth(made):
    return COCO(str(made / "coco" / "annotations" / "instances_val2017.json"))


def test_the_same_sizes_give_the_same_bytes_and_another_seed_others(made, tmp_path):
    make_demo(tmp_path / "again", SIZES)
    assert hashes(tmp_path / "again") == hashes(made)
    other = DataPart(tmp_path / "other", DemoData(seed=1), "train", 0, 8)
    write_scenes(other)
    changed = hashes(tmp_path / "other")
    mine = hashes(made)
    assert len(changed) == 24
    assert all(mine[name] != digest for name, digest in changed.items() if "jpg" in name)


def test_an_image_does_not_depend_on_what_is_made_with_it(made, tmp_path):
    write_scenes(DataPart(tmp_path, SIZES, "train", 65, 2))
    alone, mine = hashes(tmp_path), hashes(made)
    assert len(alone) == 6
    assert all(mine[name] == digest for name, digest in alone.items())


def test_a_finished_data_set_stays_and_another_folder_is_not_overwritten(made, tmp_path):
    before = (made / "demo.json").stat().st_mtime_ns
    make_demo(made, SIZES)
    assert (made / "demo.json").stat().st_mtime_ns == before
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="holds no demo data of these sizes"):
        make_demo(tmp_path / "mine", SIZES)
    assert not list((tmp_path / "mine").iterdir())


def test_every_layout_is_whole(made):
    roots = demo_roots(made)
    assert {name: check(name, roots[name]) for name in ("imagenet", "coco", "ade20k")} == {
        "imagenet": [],
        "coco": [],
        "ade20k": [],
    }
    assert len(class_names(made / "imagenet")) == len(THINGS) == 8
    assert ade_class_names(made / "ADEChallengeData2016") == [*THINGS, *STUFF]


@pytest.mark.parametrize("name", PHOTOS)
def test_validation_sees_no_column_of_a_photograph_that_training_sees(name):
    train, val = region(name, "train"), region(name, "val")
    assert train[0] == 0
    assert train[1] == val[0]
    assert val[1] == photo(name).shape[1]
    assert min(train[1], val[1] - val[0]) >= 100


def test_ground_truth_scored_against_itself_has_ap_one(truth):
    results = [
        {k: a[k] for k in ("image_id", "category_id", "bbox")}
        | {"score": 1.0, "segmentation": truth.annToRLE(a)}
        for a in truth.dataset["annotations"]
        if not a["iscrowd"]
    ]
    for kind in ("bbox", "segm"):
        scored = COCOeval(truth, truth.loadRes([dict(r) for r in results]), kind)
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
        assert scored.stats[0] == pytest.approx(1.0)


def test_category_and_image_ids_have_gaps_and_names(truth):
    assert sorted(truth.cats) == list(CATEGORY_IDS)
    assert max(CATEGORY_IDS) > len(CATEGORY_IDS)
    assert [truth.cats[i]["name"] for i in CATEGORY_IDS] == list(THINGS)
    ids = sorted(truth.imgs)
    assert ids[1] - ids[0] > 1


def test_outlines_are_polygons_run_lengths_and_crowds(made):
    path = made / "coco" / "annotations" / "instances_train2017.json"
    annotations = json.loads(path.read_text())["annotations"]
    assert {a["category_id"] for a in annotations} == set(CATEGORY_IDS)
    polygons = [a for a in annotations if isinstance(a["segmentation"], list)]
    lengths = [a for a in annotations if isinstance(a["segmentation"], dict)]
    crowds = [a for a in annotations if a["iscrowd"]]
    assert polygons
    assert crowds
    assert len(lengths) > len(crowds)
    assert all(isinstance(a["segmentation"], dict) for a in crowds)


def test_polygons_cover_the_mask_that_they_came_from(made, truth):
    labels = made / "ADEChallengeData2016" / "annotations" / "validation"
    worst = 1.0
    for index, image_id in enumerate(sorted(truth.imgs)):
        label = np.asarray(Image.open(labels / f"ADE_val_{index + 1:08d}.png"))
        for category_id in CATEGORY_IDS:
            found = truth.loadAnns(truth.getAnnIds([image_id], [category_id]))
            if not found:
                continue
            drawn = np.any([truth.annToMask(a) for a in found], axis=0)
            mask = label == CATEGORY_IDS.index(category_id) + 1
            # remnants below the smallest size are painted, but have no annotation
            worst = min(worst, (drawn & mask).sum() / max(1, (drawn | mask).sum()))
    assert worst > 0.85


def test_run_lengths_decode_to_the_mask():
    rng = np.random.default_rng(0)
    for mask in (rng.random((7, 5)) < 0.5, np.ones((3, 4), bool), np.zeros((3, 4), bool)):
        coded = run_lengths(mask)
        assert sum(coded["counts"]) == mask.size
        decoded = coco_mask.decode(coco_mask.frPyObjects(coded, *coded["size"]))
        assert np.array_equal(decoded.astype(bool), mask)


def test_label_maps_fit_their_images_and_zero_is_there_to_ignore(made):
    root = made / "ADEChallengeData2016"
    seen = set()
    for path in sorted((root / "annotations" / "training").iterdir()):
        label = np.asarray(Image.open(path))
        with Image.open(root / "images" / "training" / f"{path.stem}.jpg") as image:
            assert image.size == label.shape[::-1]
        seen |= set(np.unique(label).tolist())
    assert seen == set(range(len(THINGS) + len(STUFF) + 1))
