"""A training step of a detector or segmenter: ours against the toolbox's own model.

python benchmarks/dense_step.py [--task coco_vitdet] [--arch vit_base_patch16] [--batch 4]
Same weights, same images, AdamW; ours has fused attention and steps under the guard as jobs do, on
a GPU by the fused optimiser and in bf16, where the toolbox has fp16 with a gradient scaler. Ours is
given with recomputed blocks too.
On a CPU images, heads and encoder are small, and seconds are those that the process computes, since
others may use the machine.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from side_by_side import medians, report
from torch import Tensor, nn

from mae_bench.core.compute import Compute
from mae_bench.kit.encoder import Encoder
from mae_bench.kit.guard import Guard
from mae_bench.kit.machine import Machine
from mae_bench.kit.ranks import Ranks
from mae_bench.kit.spec import named_spec
from mae_bench.kit.vit import VisionTransformer, init_weights

OBJECTS = 8
CLASSES = {"coco_vitdet": 80, "coco_maskrcnn_fpn": 80, "ade20k_upernet": 150}
ON_CPU = {
    "pyramid_width": 32,
    "box_convs": 1,
    "box_width": 64,
    "mask_convs": 1,
    "rpn_samples": 64,
    "roi_samples": 32,
    "rpn_proposals": 100,
}
"""Heads so small that most of the work is the encoder's, as it is for ViT-B at 1024 pixels."""
ON_CPU_SEGMENTER = {"head_width": 64, "auxiliary_width": 32}

Loss = Callable[[], Tensor]


@dataclass(frozen=True)
class Case:
    """What is measured: a task, an encoder, and images of one side."""

    task: str
    encoder: Encoder
    side: int
    batch: int
    device: torch.device

    @property
    def small(self) -> bool:
        """Return whether heads are narrow."""
        return self.device.type == "cpu"


def random_encoder(arch: str) -> Encoder:
    """Return an encoder of that size, untrained."""
    spec = named_spec(arch, 224, "mae")
    model = VisionTransformer(spec)
    init_weights(model)
    return Encoder(spec, model.state_dict(), "")


def detectors(case: Case) -> dict[str, tuple[nn.Module, Loss]]:
    """Return our detector and, where there is one, detectron2's own, each with its loss."""
    from detectron2.modeling import ViT
    from detectron2.modeling.proposal_generator import RPN

    from mae_bench.core.registry import load
    from mae_bench.kit.fit import for_toolbox
    from transfer.detectron2_adapter import fpn, vitdet
    from transfer.detectron2_adapter.model import build_detector

    encoder = for_toolbox(case.encoder, "detectron2's ViT")
    config = {"coco_vitdet": vitdet, "coco_maskrcnn_fpn": fpn}[case.task].model_config
    recipe: Any = load(case.task).published(case.encoder.spec.arch, "mae")
    settings = ON_CPU if case.small else {}
    recipe = dataclasses.replace(recipe, image_size=case.side, **settings)
    configs = {"ours": config(recipe, encoder, CLASSES[case.task])}
    if case.task == "coco_vitdet":
        configs["detectron2"] = config(recipe, encoder, CLASSES[case.task])
        configs["detectron2"].backbone.net._target_ = ViT
        configs["detectron2"].proposal_generator._target_ = RPN
    inputs = [scene(case) for _ in range(case.batch)]
    models = {name: build_detector(one, encoder) for name, one in configs.items()}
    return {
        name: (model, lambda m=model: detector_loss(m, inputs)) for name, model in models.items()
    }


def scene(case: Case) -> dict[str, Any]:
    """Return a random image with objects that are boxes."""
    from detectron2.structures import BitMasks, Boxes, Instances

    side = case.side
    corners = torch.rand(OBJECTS, 2, 2).sort(dim=1).values * side
    boxes = torch.cat([corners[:, 0], corners[:, 1] + 2], dim=1).clamp(max=side)
    objects = Instances((side, side))
    objects.gt_boxes = Boxes(boxes)
    objects.gt_classes = torch.arange(OBJECTS)
    masks = torch.zeros(OBJECTS, side, side, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.long().tolist(), strict=True):
        mask[top:bottom, left:right] = True
    objects.gt_masks = BitMasks(masks)
    return {
        "image": torch.randint(0, 256, (3, side, side), dtype=torch.uint8),
        "instances": objects,
    }


def detector_loss(model: Any, inputs: list[dict[str, Any]]) -> Tensor:
    """Return the sum of the detector's losses."""
    from detectron2.utils.events import EventStorage

    with EventStorage():
        return sum(model(inputs).values(), torch.zeros((), device=model.device))


def segmenters(case: Case) -> dict[str, tuple[nn.Module, Loss]]:
    """Return our UperNet and mmsegmentation's own, each with its loss."""
    from mae_bench.core.registry import load
    from transfer.mmseg_adapter.model import build_segmenter, fitted, model_config
    from transfer.mmseg_adapter.toolbox import import_mmseg

    import_mmseg()
    from mmengine.structures import PixelData
    from mmseg.models.backbones.mae import MAEAttention, MAETransformerEncoderLayer
    from mmseg.structures import SegDataSample

    recipe: Any = load(case.task).published(case.encoder.spec.arch, "mae")
    settings = ON_CPU_SEGMENTER if case.small else {}
    recipe = dataclasses.replace(recipe, crop_size=case.side, stride=case.side, **settings)
    encoder = fitted(case.encoder, recipe)
    config = model_config(recipe, encoder, CLASSES[case.task])
    models: dict[str, Any] = {
        name: build_segmenter(config, encoder) for name in ("ours", "mmsegmentation")
    }
    for layer in models["mmsegmentation"].backbone.layers:
        layer.__class__, layer.attn.__class__ = MAETransformerEncoderLayer, MAEAttention
    shape = (case.batch, 1, case.side, case.side)
    labels = torch.randint(0, CLASSES[case.task], shape, device=case.device)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=one)) for one in labels]
    images = torch.randn(case.batch, 3, case.side, case.side, device=case.device)

    def loss(model: Any) -> Tensor:
        return model.parse_losses(model.loss(images, samples))[0]

    return {name: (model, lambda m=model: loss(m)) for name, model in models.items()}


def our_step(model: nn.Module, loss: Loss, case: Case) -> Callable[[], None]:
    """Return one optimiser step as jobs take it."""
    on_gpu = case.device.type == "cuda"
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=on_gpu)
    guard = Guard(optimizer, case.device, limit=3, check_gradients=on_gpu)

    def work() -> None:
        with torch.autocast(case.device.type, torch.bfloat16, enabled=on_gpu):
            value = loss()
        value.backward()
        guard.step(value.detach())
        optimizer.zero_grad(set_to_none=True)

    return work


def toolbox_step(model: nn.Module, loss: Loss, case: Case) -> Callable[[], None]:
    """Return one optimiser step as the toolboxes take it."""
    on_gpu = case.device.type == "cuda"
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=False)
    scaler = torch.amp.GradScaler(case.device.type, enabled=on_gpu)

    def work() -> None:
        with torch.autocast(case.device.type, torch.float16, enabled=on_gpu):
            value = loss()
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)

    return work


def peak(work: Callable[[], None]) -> float:
    """Return the GiB that a step takes on the GPU."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated() / 2**30


def main() -> None:
    """Measure and print."""
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="coco_vitdet", choices=CLASSES)
    parser.add_argument("--arch", default="vit_base_patch16" if gpu else "vit_tiny_patch16")
    parser.add_argument("--side", type=int, help="default: the recipe's, on a CPU 640 or 256")
    parser.add_argument("--batch", type=int, default=4 if gpu else 2)
    parser.add_argument("--rounds", type=int, default=20 if gpu else 5)
    chosen = parser.parse_args()
    torch.manual_seed(0)
    segments = chosen.task == "ade20k_upernet"
    side = chosen.side or ((512 if segments else 1024) if gpu else (256 if segments else 640))
    device = torch.device("cuda" if gpu else "cpu")
    case = Case(chosen.task, random_encoder(chosen.arch), side, chosen.batch, device)
    made = (segmenters if segments else detectors)(case)
    steps = {}
    for name, (model, loss) in made.items():
        step = our_step if name == "ours" else toolbox_step
        steps[name] = step(model.to(device).train(), loss, case)
    model, loss = (segmenters if segments else detectors)(case)["ours"]
    Machine(Ranks(0, 1, device), Compute(recompute=True)).take(model.train())
    steps["ours, recomputed"] = our_step(model, loss, case)
    seconds = medians(steps, chosen.rounds, time.perf_counter if gpu else time.process_time)
    lines = {name: f"{case.batch / value:.2f} images/s" for name, value in seconds.items()}
    for name in steps.keys() - {"ours", "ours, recomputed"}:
        lines[f"ours over {name}"] = f"{seconds[name] / seconds['ours']:.2f}x"
    if gpu:
        lines |= {f"{name}, memory": f"{peak(work):.1f} GiB" for name, work in steps.items()}
    report(f"{case.task}: {chosen.arch}, {case.batch} images of {side}x{side}", lines)


if __name__ == "__main__":
    main()
