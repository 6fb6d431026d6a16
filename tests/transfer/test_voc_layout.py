import numpy as np
from detectron2.data.datasets.pascal_voc import load_voc_instances

from mae_bench.kit.voc_files import (
    MAIN_2007,
    SEGMENTATION_2012,
    VOC_CLASSES,
    read_annotation,
    read_ids,
)
from transfer.mmseg_adapter.toolbox import import_mmseg


def test_detectron2_reads_the_demo_devkit_as_we_do(devkit):
    records = load_voc_instances(str(devkit / "VOC2007"), "test", VOC_CLASSES)
    assert [record["image_id"] for record in records] == read_ids(devkit, MAIN_2007, "test")
    for record in records:
        path = devkit / "VOC2007" / "Annotations" / f"{record['image_id']}.xml"
        found = read_annotation(path)
        assert (record["width"], record["height"]) == (found.width, found.height)
        theirs = [(VOC_CLASSES[a["category_id"]], *a["bbox"]) for a in record["annotations"]]
        # detectron2 counts from 0 and to the end of the last pixel
        ours = [
            (one.name, one.box[0] - 1, one.box[1] - 1, one.box[2], one.box[3])
            for one in found.objects
        ]
        assert theirs == ours


def test_mmsegmentation_reads_the_demo_devkit_with_our_class_order(devkit):
    import_mmseg()
    from mmseg.datasets import PascalVOCDataset

    dataset = PascalVOCDataset(
        ann_file=f"{SEGMENTATION_2012.removeprefix('VOC2012/')}/train.txt",
        data_root=str(devkit / "VOC2012"),
        data_prefix={"img_path": "JPEGImages", "seg_map_path": "SegmentationClass"},
        pipeline=[{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}],
    )
    assert tuple(dataset.metainfo["classes"]) == ("background", *VOC_CLASSES)
    assert len(dataset) == len(read_ids(devkit, SEGMENTATION_2012, "train"))
    for item in dataset:
        assert item["gt_seg_map"].shape == item["img"].shape[:2]
        assert set(np.unique(item["gt_seg_map"]).tolist()) <= {*range(21), 255}
