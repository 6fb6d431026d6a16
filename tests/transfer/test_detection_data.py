import dataclasses

import pytest
import torch
from PIL import Image

from mae_bench.kit.split import Split
from transfer.coco_vitdet import CocoVitDet
from transfer.detectron2_adapter.data import TrainFeed, have_masks, read_split
from transfer.detectron2_adapter.evaluation import coco_data

TINY = dataclasses.replace(
    CocoVitDet.demo(),
    image_size=64,
    iterations=4,
    milestones=(3,),
    warmup_iterations=1,
    batch_size=4,
)


def test_batches_are_the_same_images_whatever_the_split(roots):
    data = coco_data(roots["coco"])
    whole = list(TrainFeed(TINY, data, 3).batches(0))
    late = list(TrainFeed(TINY, data, 3).batches(2))
    assert len(whole) == 6
    for batch, again in zip(whole[2:], late, strict=True):
        assert [one["image_id"] for one in batch] == [one["image_id"] for one in again]
        assert torch.equal(batch[0]["image"], again[0]["image"])
    (last,) = TrainFeed(TINY, data, 3, workers=1).batches(5)
    assert torch.equal(last[0]["image"], whole[5][0]["image"])
    shares = [list(TrainFeed(TINY, data, 3).batches(0, Split(4, r, 2, 1))) for r in (0, 1)]
    for step, batch in enumerate(whole):
        joined = [
            one for share in shares for part in share[2 * step : 2 * step + 2] for one in part
        ]
        for one, other in zip(batch, joined, strict=True):
            assert torch.equal(one["image"], other["image"])
            assert torch.equal(one["instances"].gt_boxes.tensor, other["instances"].gt_boxes.tensor)
    assert all("instances" in one for batch in whole for one in batch)


def test_category_gaps_close_and_open_again(roots):
    split = read_split(roots["coco"], "val")
    assert split.category_ids == (1, 2, 4, 7, 11, 13, 18, 27)
    classes = {a["category_id"] for r in split.records for a in r["annotations"]}
    assert classes <= set(range(8))


def test_images_without_an_object_are_left_out_of_training_alone(roots):
    data = coco_data(roots["coco"])
    records = [dict(one) for one in data.train]
    records[0]["annotations"] = []
    records[1]["annotations"] = [one | {"iscrowd": 1} for one in records[1]["annotations"]]
    gone = {records[0]["image_id"], records[1]["image_id"]}
    feed = TrainFeed(TINY, dataclasses.replace(data, train=records), 3)
    assert feed.num_images == len(records) - 2
    seen = {one["image_id"] for batch in feed.batches(0) for one in batch}
    assert not gone & seen
    empty = [one | {"annotations": []} for one in records]
    with pytest.raises(ValueError, match="none of the 12 training images has an object"):
        TrainFeed(TINY, dataclasses.replace(data, train=empty), 3)


def test_masks_of_some_objects_only_are_refused(roots, tmp_path):
    records = read_split(roots["coco"], "train").records
    assert have_masks(records, tmp_path)
    del records[3]["annotations"][0]["segmentation"]
    with pytest.raises(ValueError, match=r"1 of \d+ objects have no mask"):
        have_masks(records, tmp_path)


def test_a_png_with_a_broken_chunk_is_replaced_too(roots, tmp_path):
    data, broken = coco_data(roots["coco"]), tmp_path / "broken.png"
    Image.effect_noise((300, 300), 50).convert("RGB").save(broken)
    content = bytearray(broken.read_bytes())
    second = content.index(b"IDAT", content.index(b"IDAT") + 4)
    content[second : second + 4] = b"\x00\x01\x02\x03"
    broken.write_bytes(content)
    with Image.open(broken) as image, pytest.raises(SyntaxError):
        image.load()
    records = [data.train[0] | {"file_name": str(broken)}, *data.train[1:]]
    views = TrainFeed(TINY, dataclasses.replace(data, train=records), 3).views
    mapped = views[0, 0]
    assert mapped["image_id"] == records[1]["image_id"]
    assert mapped["unreadable"][0] == 0
    assert "broken.png" in mapped["unreadable"][1]
