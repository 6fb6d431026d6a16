import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mae_bench.kit.audit.coco import KEYS, box_fault
from mae_bench.kit.audit.outlines import outline_fault, unpacked
from mae_bench.kit.audit.problems import Fault, within_budget

SIZE = (8, 4)


@pytest.fixture
def root(copy_of):
    return copy_of("coco")


@pytest.fixture
def train(root):
    return root / "annotations" / "instances_train2017.json"


def test_clean_data_passes_and_progress_is_told(made):
    from mae_bench.kit.audit.coco import coco_faults

    told = []
    assert list(coco_faults(made["coco"], lambda *counts: told.append(counts))) == []
    assert told[-1] == (8, 8)
    assert (24, 24) in told


def test_a_file_that_is_no_annotation_file_is_named(root, train, problems_of):
    whole = train.read_text()
    kind = "annotation files that cannot be read"
    for text, words in (
        (whole[:1000], "instances_train2017.json is not JSON"),
        ("[]", "must hold a table"),
        (whole.replace('"categories"', '"classes"'), "has no list 'categories'"),
        ('{"images": [], "annotations": [], "categories": []}', "an empty list 'images'"),
    ):
        train.write_text(text)
        (problem,) = problems_of("coco", root).values()
        assert problem.kind == kind
        assert problem.fatal
        assert words in problem.line
    train.unlink()
    assert "no file" in problems_of("coco", root)[kind].line


def test_every_kind_of_broken_annotation_is_counted_in_one_pass(
    root, train, problems_of, edit_json
):
    def spoil(content):
        ones = content["annotations"]
        for one in ones[:12]:
            one["category_id"] = 99
        ones[12]["image_id"] = -5
        ones[13]["bbox"] = [40, 40, 20, 4]
        ones[14]["bbox"] = [3, 3, 0, 4]
        ones[15]["bbox"] = [3, 3, 4]
        ones[16]["bbox"] = [-0.5, 3, 4, 4]
        ones[17]["segmentation"] = []
        ones[18]["segmentation"] = [[1, 2, 3, 4, 5]]
        ones[19]["segmentation"] = [[1, 2, 3, 4]]
        ones[20]["segmentation"] = {"size": [4, 4], "counts": [16]}
        ones[21]["segmentation"] = {"size": [48, 48], "counts": [16]}
        ones[23]["id"] = ones[22]["id"]
        del ones[24]["area"]

    edit_json(train, spoil)
    found = problems_of("coco", root)
    assert {kind: (one.count, one.fatal) for kind, one in found.items()} == {
        "ids given twice in annotations": (1, True),
        "entries of annotations without what they need": (1, True),
        "annotations of an unknown category": (12, True),
        "annotations of an unknown image": (1, True),
        "boxes outside their image": (1, True),
        "malformed boxes": (1, True),
        "annotations without an outline": (1, True),
        "malformed outlines": (2, True),
        "masks of another size than their image": (1, True),
        "boxes without area": (1, False),
        "boxes a little outside their image": (1, False),
        "outlines of fewer than three points": (1, False),
    }
    unknown = found["annotations of an unknown category"]
    assert len(unknown.first) == 10
    ids = [one["id"] for one in json.loads(train.read_text())["annotations"]]
    assert unknown.first[0] == f"{train.name}: annotation {ids[0]} has category 99"
    assert "has no area" in found["entries of annotations without what they need"].line


def test_missing_unreadable_and_resized_images_are_found(root, problems_of, edit_json):
    folder = root / "val2017"
    gone, torn, empty, small, turned = sorted(folder.iterdir())[:5]
    gone.unlink()
    torn.write_bytes(torn.read_bytes()[:-600])
    empty.write_bytes(b"")
    Image.new("RGB", (48, 40)).save(small)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (48, 40)).save(turned, exif=exif)

    def resize(content):
        for one in content["images"]:
            if one["file_name"] == turned.name:
                one["height"] = 40

    edit_json(root / "annotations" / "instances_val2017.json", resize)
    found = problems_of("coco", root)
    assert str(gone) in found["missing images"].line
    assert [one.split(" (")[0] for one in found["unreadable images"].first] == [
        str(torn),
        str(empty),
    ]
    sizes = found["images of another size than their annotation says"].first
    assert f"{small} has 48 x 40 pixels, instances_val2017.json says 48 x 48" in sizes[0]
    assert f"{turned} has 40 x 48 pixels" in sizes[1]


def test_lists_with_wrong_entries_do_not_hide_other_faults(root, train, problems_of, edit_json):
    def spoil(content):
        content["images"][0]["width"] = "wide"
        content["images"][1]["id"] = content["images"][2]["id"]
        content["categories"].append("dog")
        content["annotations"].append(7)
        content["annotations"][0]["image_id"] = [1]

    edit_json(train, spoil)
    found = problems_of("coco", root)
    assert found["entries of images without what they need"].count == 1
    assert "has width 'wide'" in found["entries of images without what they need"].line
    assert found["ids given twice in images"].count == 1
    assert found["entries of categories without what they need"].count == 1
    assert found["entries of annotations without what they need"].count == 2


def test_an_annotation_numbered_0_is_refused_where_its_evaluation_would_miss_it(
    root, train, problems_of, edit_json
):
    edit_json(train, lambda content: content["annotations"][0].update(id=0))
    assert problems_of("coco", root) == {}
    val = root / "annotations" / "instances_val2017.json"
    edit_json(val, lambda content: content["annotations"][0].update(id=0))
    (problem,) = problems_of("coco", root).values()
    assert problem.fatal
    assert problem.kind == "annotations with id 0, which no detection can match"
    truth = COCO(str(val))
    found = [
        {"image_id": one["image_id"], "category_id": one["category_id"], "bbox": one["bbox"]}
        | {"score": 1.0}
        for one in truth.dataset["annotations"]
        if not one["iscrowd"]
    ]
    scored = COCOeval(truth, truth.loadRes(found), "bbox")
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    assert scored.stats[0] < 1  # the truth itself does not score 100


def test_splits_of_other_categories_are_found(root, train, problems_of, edit_json):
    edit_json(train, lambda content: content["categories"][0].update(name="sphere"))
    (problem,) = problems_of("coco", root).values()
    assert "(1, 'ball'), (1, 'sphere')" in problem.line


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ([0, 0, 640, 480], None),
        ([296.65, 388.33, 1.03, 0.0], "boxes without area"),  # COCO's annotation 918
        ([0, 0, 640.01, 480], "boxes a little outside their image"),
        ([0, -4, 10, 480], "boxes a little outside their image"),
        ([0, -6, 10, 480], "boxes outside their image"),
        ([700, 10, 5, 5], "boxes outside their image"),
        ([0, 0, -1, 4], "malformed boxes"),
        ([0, 0, float("nan"), 4], "malformed boxes"),
        ("0 0 4 4", "malformed boxes"),
    ],
)
def test_boxes_are_judged_by_how_far_they_reach_outside(box, kind):
    fault = box_fault(box, (640, 480))
    assert (fault and fault[0]) == kind
    assert fault is None or fault[2] == (kind in ("boxes outside their image", "malformed boxes"))


def test_compressed_run_lengths_are_those_of_cocos_own_api():
    rng = np.random.default_rng(0)
    masks = [rng.random((4, 8)) < p for p in (0, 0.1, 0.5, 0.9, 1)]
    masks.append(np.arange(90_000).reshape(300, 300) % 7000 < 900)
    for mask in masks:
        coded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        runs = unpacked(coded["counts"].decode())
        flat = np.concatenate([np.full(n, i % 2) for i, n in enumerate(runs)])
        assert np.array_equal(flat.reshape(mask.shape, order="F"), mask)
        outline = {"size": list(mask.shape), "counts": coded["counts"].decode()}
        assert outline_fault(outline, mask.shape[::-1]) is None


@pytest.mark.parametrize(
    "outline",
    [
        {"size": [4, 8], "counts": "ab cd"},
        {"size": [4, 8], "counts": "P"},
        {"size": [4, 8], "counts": [40, -8]},
        {"size": [4, 8], "counts": ["32"]},
        {"counts": [32]},
        {"size": [4, 8]},
        "polygon",
        [[1, 2, 3, 4, 5, None]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [1, 2, 3, 4, 5, 6],
    ],
)
def test_outlines_that_cannot_be_drawn_are_malformed(outline):
    kind, _, fatal = outline_fault(outline, SIZE)
    assert kind == "malformed outlines"
    assert fatal


def test_ids_crowds_and_names_that_the_evaluation_could_not_read_are_found(
    root, train, problems_of, edit_json
):
    """pycocotools and detectron2 end at them, or count a crowd of 2 as an object, after training.

    1.0 is equal to 1 here, but another key where ids are sorted and written out as text.
    """

    def spoil(content):
        ones = content["annotations"]
        for one, value in zip(ones, (None, 2, "no", True, 0, 1), strict=False):
            one["iscrowd"] = value
        del ones[6]["iscrowd"]
        ones[7]["id"] = "x"
        ones[8]["image_id"] = True
        ones[9]["category_id"] = 1.0
        content["images"][-1]["file_name"] = 5
        content["images"][-2]["id"] = "7"
        content["categories"][0]["name"] = ["ball"]
        content["categories"][1]["id"] = "2"

    edit_json(train, spoil)
    found = problems_of("coco", root)
    lists = {key: found[f"entries of {key} without what they need"] for key in KEYS}
    counts = {key: one.count for key, one in lists.items()}
    assert counts == {"images": 2, "categories": 2, "annotations": 7}
    assert all(one.fatal for one in lists.values())
    assert "has iscrowd None" in lists["annotations"].line
    assert "has name ['ball']" in lists["categories"].line


def test_few_unreadable_training_images_are_left_to_the_run(made):
    """Its default replaces one in ten thousand."""
    unreadable, other = Fault("unreadable images", "a"), Fault("missing images", "b")
    for number, size, fatal in ((1, 10_000, False), (1, 9_999, True), (2, 10_000, True)):
        found = list(within_budget([*[unreadable] * number, other], size))
        assert found[0] == other
        assert [one.fatal for one in found[1:]] == [fatal] * number
