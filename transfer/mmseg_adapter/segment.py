"""ADE20K segmentation in mmsegmentation: its UperNet and mmengine's Runner, driven by a recipe."""

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import Runner
from PIL import Image
from torch import nn

from mae_bench.core.files import append_metrics, record_facts, write_json
from mae_bench.core.recipe import Context
from mae_bench.kit.decode import read_image
from mae_bench.kit.encoder import read_encoder
from mae_bench.kit.facts import encoder_facts
from mae_bench.kit.fit import at_image_size, for_toolbox
from mae_bench.kit.keeper import Keeper
from mae_bench.kit.layouts import ade_class_names
from mae_bench.kit.pace import Pace, stop_signals
from mae_bench.kit.randomness import seed_globals
from transfer.dense_figure import draw_labels, enlarged, side_by_side
from transfer.mmseg_adapter.data import eval_loader, eval_pipeline, train_loader, train_pipeline
from transfer.mmseg_adapter.model import (
    DROPPED,
    IGNORED,
    build_segmenter,
    lr_factor,
    model_config,
    parameter_groups,
)

if TYPE_CHECKING:
    from transfer.ade20k_upernet import Ade20kUperNet

log = logging.getLogger(__name__)

FIGURE_IMAGES = 6
UNUSED_HOOKS = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint")
"""The runner's default hooks whose work the Keeper does, from the iteration's number alone."""


def segment(recipe: "Ade20kUperNet", ctx: Context) -> dict[str, float]:
    """Train the segmenter on ctx.data from ctx.encoder; return the mean IoU in percent."""
    assert ctx.data is not None
    assert ctx.encoder is not None
    given = read_encoder(ctx.encoder)
    plain = for_toolbox(given, "mmsegmentation's MAE backbone")
    encoder = at_image_size(plain, recipe.crop_size)
    seed_globals(ctx.seed, "init")
    config = model_config(recipe, encoder, len(ade_class_names(ctx.data)))
    segmenter = build_segmenter(config, encoder)
    pipelines = {"train": train_pipeline(recipe), "test": eval_pipeline(recipe)}
    write_json(ctx.out / "config.json", {"model": config, "pipelines": pipelines})
    dropped = sorted(name for name in encoder.state if name.startswith(DROPPED))
    arrived = {"tensors": len(encoder.state) - len(dropped), "dropped": dropped}
    classes = {"classes": len(ade_class_names(ctx.data))}
    counts = classes | {
        name: sum(1 for _ in (ctx.data / "images" / part).iterdir())
        for name, part in (("images", "training"), ("val_images", "validation"))
    }
    record_facts(ctx.out, encoder=encoder_facts(given, encoder), arrived=arrived, data=counts)
    segmenter.to("cuda" if torch.cuda.is_available() else "cpu")
    optimizer = torch.optim.AdamW(parameter_groups(segmenter, recipe, encoder.spec.depth))
    hook = KeeperHook(recipe, ctx.seed, Keeper(ctx.out, recipe.iterations, segmenter, optimizer))
    if hook.keeper.start < recipe.iterations:
        with stop_signals() as hook.keeper.stopped:
            build_runner(recipe, ctx, hook).train()
    return evaluate(recipe, segmenter, ctx)


def build_runner(recipe: "Ade20kUperNet", ctx: Context, hook: "KeeperHook") -> Runner:
    """Return mmengine's runner for the iterations that are left."""
    assert ctx.data is not None
    keeper = hook.keeper
    wrapper = AmpOptimWrapper if torch.cuda.is_available() else OptimWrapper
    return Runner(
        model=keeper.module,
        work_dir=str(ctx.out / "mmengine"),
        train_dataloader=train_loader(recipe, ctx.data, ctx.seed, keeper.start),
        train_cfg={"by_epoch": False, "max_iters": recipe.iterations - keeper.start},
        optim_wrapper=wrapper(optimizer=keeper.optimizer),
        default_hooks=dict.fromkeys(UNUSED_HOOKS),
        custom_hooks=[hook],
        default_scope="mmseg",
        experiment_name=ctx.out.resolve().name,
        log_level="WARNING",
    )


class KeeperHook(Hook):  # type: ignore[misc] # mmengine has no types
    """Seeds each iteration, sets its learning rate, and lets the keeper log, save and stop.

    Checkpoints are this project's, since mmengine's own are neither atomic nor checked. The runner
    counts from the checkpoint on, so its iteration 0 is step `keeper.start`.
    """

    def __init__(self, recipe: "Ade20kUperNet", seed: int, keeper: Keeper) -> None:
        self.recipe, self.seed, self.keeper = recipe, seed, keeper

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Make the iteration's randomness and learning rate depend on its number alone."""
        iteration = self.keeper.start + runner.iter
        seed_globals(self.seed, "step", iteration)
        factor = lr_factor(self.recipe, iteration)
        for group in self.keeper.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Pass the iteration's loss on."""
        self.keeper.after(self.keeper.start + runner.iter + 1, outputs["loss"])


@torch.no_grad()
def evaluate(recipe: "Ade20kUperNet", segmenter: nn.Module, ctx: Context) -> dict[str, float]:
    """Return the mean IoU over classes that occur, in percent; leave figures/segmentations.png.

    Counts and mean are mmsegmentation's: a class in neither prediction nor truth is left out.
    """
    from mmseg.evaluation import IoUMetric

    assert ctx.data is not None
    names = ade_class_names(ctx.data)
    segmenter.eval()
    loader, pace, counts, columns = eval_loader(recipe, ctx.data), Pace(), [], []
    for done, batch in enumerate(loader, start=1):
        (sample,) = segmenter.val_step(batch)
        predicted = sample.pred_sem_seg.data.squeeze(0).cpu()
        truth = sample.gt_sem_seg.data.squeeze(0).cpu()
        counts.append(IoUMetric.intersect_and_union(predicted, truth, len(names), IGNORED))
        if len(columns) < FIGURE_IMAGES:
            columns.append(_column(sample.img_path, truth, predicted))
        if pace.log_due():
            steps, of = recipe.iterations, f"{done} of {len(loader)} images"
            append_metrics(ctx.out, step=steps, steps=steps, evaluated=of)
    path = ctx.out / "figures" / "segmentations.png"
    path.parent.mkdir(exist_ok=True)
    side_by_side(columns, ("image", "truth", "found"), tuple(names)).save(path)
    scores = IoUMetric.total_area_to_metrics(*(sum(part) for part in zip(*counts, strict=True)))
    per_class = {
        name: None if np.isnan(value) else round(100.0 * float(value), 2)
        for name, value in zip(names, scores["IoU"], strict=True)
    }
    record_facts(ctx.out, iou=per_class)
    return {"miou": 100.0 * float(np.nanmean(scores["IoU"]))}


def _column(path: str, truth: torch.Tensor, predicted: torch.Tensor) -> tuple[Image.Image, ...]:
    """Return the pictures of one image: itself, its truth, the prediction."""
    labels = (draw_labels(one.numpy()) for one in (truth, predicted))
    return (enlarged(read_image(path)), *labels)
