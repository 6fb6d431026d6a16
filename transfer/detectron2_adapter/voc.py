"""PASCAL VOC as detectron2 reads and scores it, and a detector without masks for it."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detectron2.data import MetadataCatalog
from detectron2.data.datasets.pascal_voc import load_voc_instances
from detectron2.evaluation import PascalVOCDetectionEvaluator
from detectron2.evaluation.pascal_voc_evaluation import voc_eval
from detectron2.utils import comm

from mae_bench.core.files import record_facts
from mae_bench.kit.encoder import Encoder
from mae_bench.kit.voc_files import MAIN_2007, VOC_CLASSES, read_annotation, read_ids
from transfer.detection_figures import detection_figures
from transfer.detectron2_adapter.data import DetectionData, Record
from transfer.detectron2_adapter.vitdet import pyramid_config

if TYPE_CHECKING:
    from transfer.voc_detection import VocDetection

TRAIN = (("VOC2007", "trainval"), ("VOC2012", "trainval"))
TEST = ("VOC2007", "test")


def model_config(recipe: "VocDetection", encoder: Encoder, num_classes: int) -> Any:
    """Return the lazy config of Faster R-CNN on detectron2's simple feature pyramid."""
    model = pyramid_config(recipe, encoder, num_classes)
    for part in ("mask_in_features", "mask_pooler", "mask_head"):
        model.roi_heads[part] = None
    return model


@dataclass(frozen=True)
class VocTest:
    """The test images of a VOCdevkit, and the classes that are scored."""

    root: Path
    records: list[Record]
    category_names: tuple[str, ...]

    @property
    def category_ids(self) -> tuple[int, ...]:
        """Return the number of each class: its place among the names."""
        return tuple(range(len(self.category_names)))


def voc_data(root: Path) -> DetectionData:
    """Return VOC's usual split for detection: both trainval lists, and VOC2007's test list.

    Classes without an object that counts in the test list are neither learned nor scored; VOC
    itself has none, the demo's scenes have twelve.
    """
    names = scored_classes(root)
    train = [record for year, split in TRAIN for record in read_records(root / year, split, names)]
    test = VocTest(root, read_records(root / TEST[0], TEST[1], names), names)
    return DetectionData(
        train=train,
        test=test.records,
        class_names=names,
        masks=False,
        evaluator=lambda out: VocEvaluator(test, out),
    )


def scored_classes(root: Path) -> tuple[str, ...]:
    """Return the classes with an object in VOC2007 test that is not difficult, in VOC's order."""
    counts: Counter[str] = Counter()
    for image in read_ids(root, MAIN_2007, TEST[1]):
        found = read_annotation(root / TEST[0] / "Annotations" / f"{image}.xml")
        counts.update(one.name for one in found.objects if not one.difficult)
    return tuple(name for name in VOC_CLASSES if counts[name])


def read_records(folder: Path, split: str, names: tuple[str, ...]) -> list[Record]:
    """Return the images of a list by detectron2's reader, with the objects of those classes."""
    records: list[Record] = load_voc_instances(str(folder), split, VOC_CLASSES)
    index = {VOC_CLASSES.index(name): i for i, name in enumerate(names)}
    for record in records:
        record["annotations"] = [
            one | {"category_id": index[one["category_id"]]}
            for one in record["annotations"]
            if one["category_id"] in index
        ]
    return records


class VocEvaluator(PascalVOCDetectionEvaluator):  # type: ignore[misc] # detectron2 has no types
    """detectron2's own evaluator of VOC2007 test, by the 11-point AP.

    evaluate() leaves predictions/<class>.txt in VOC's format, the AP50 of each class in facts.json,
    and figures; it returns ap50, ap and ap75 in percent, None on the other ranks.
    """

    def __init__(self, test: VocTest, out: Path) -> None:
        year, split = TEST
        data_set = f"{test.root / year} {split} {len(test.category_names)}"
        MetadataCatalog.get(data_set).set(
            thing_classes=list(test.category_names),
            dirname=str(test.root / year),
            year=2007,
            split=split,
        )
        super().__init__(data_set)
        self.test, self.out = test, out

    def evaluate(self) -> dict[str, float] | None:
        """Return the metrics on the first rank; every rank must call it."""
        gathered, scores = comm.gather(self._predictions, dst=0), super().evaluate()
        if not comm.is_main_process():
            return None
        lines: dict[int, list[str]] = defaultdict(list)
        for part in gathered:
            for label, found in part.items():
                lines[label] += found
        per_class = self._class_ap(lines)
        record_facts(self.out, class_ap={"bbox": per_class})
        detection_figures(self.test, _boxes(lines), per_class, self.out, metric="AP50")
        return {name: float(scores["bbox"][name.upper()]) for name in ("ap50", "ap", "ap75")}

    def _class_ap(self, lines: dict[int, list[str]]) -> dict[str, float]:
        """Write what was found, a file for each class, and return each class's AP50 in percent."""
        folder, year = self.out / "predictions", self.test.root / TEST[0]
        folder.mkdir(exist_ok=True)
        aps = {}
        for label, name in enumerate(self.test.category_names):
            (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines[label]))
            _, _, ap = voc_eval(
                str(folder / "{}.txt"),
                str(year / "Annotations" / "{}.xml"),
                str(year / "ImageSets" / "Main" / f"{TEST[1]}.txt"),
                name,
                use_07_metric=True,
            )
            aps[name] = 100.0 * float(ap)
        return aps


def _boxes(lines: dict[int, list[str]]) -> list[dict[str, Any]]:
    """Return lines of VOC's format as COCO results: corners from 1 become x, y, width, height."""
    found = []
    for label, detections in lines.items():
        for line in detections:
            image, score, *corners = line.split()
            left, top, right, bottom = map(float, corners)
            box = [left - 1, top - 1, right - left + 1, bottom - top + 1]
            one = {"image_id": image, "category_id": label, "bbox": box, "score": float(score)}
            found.append(one)
    return found
