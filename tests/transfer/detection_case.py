"""What tests of a detector's run share: a tiny recipe, and an evaluation without figures."""

import dataclasses

from detectron2.evaluation import DatasetEvaluator

from transfer.coco_vitdet import CocoVitDet
from transfer.detectron2_adapter.evaluation import coco_data

TINY = dataclasses.replace(
    CocoVitDet.demo(),
    image_size=64,
    iterations=4,
    milestones=(3,),
    warmup_iterations=1,
    batch_size=4,
    pyramid_width=16,
    box_width=16,
    rpn_proposals=20,
    detections_per_image=5,
)


class Count(DatasetEvaluator):
    """Counts the images: all that most of these tests need of an evaluation."""

    def reset(self):
        self.images = 0

    def process(self, inputs, outputs):
        self.images += len(inputs)

    def evaluate(self):
        return {"images": self.images}


def counted_data(root):
    """Return the data with one test image and an evaluator that draws no figures."""
    data = coco_data(root)
    return dataclasses.replace(data, test=data.test[:1], evaluator=lambda out: Count())
