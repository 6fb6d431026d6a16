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
from torch.optim import Optimizer

from mae_bench.core.files import append_metrics, record_facts, write_json
from mae_bench.core.recipe import Context
from mae_bench.kit.checkpoint import Checkpoints
from mae_bench.kit.encoder import read_encoder
from mae_bench.kit.facts import encoder_facts
from mae_bench.kit.images import read_image
from mae_bench.kit.layouts import ade_class_names
from mae_bench.kit.pace import REQUEUE, Pace, stop_signals
from mae_bench.kit.randomness import seed_globals
from transfer.dense_figure import draw_labels, enlarged, side_by_side
from transfer.mmseg_data import eval_loader, eval_pipeline, train_loader, train_pipeline
from transfer.mmseg_model import (
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
    encoder = read_encoder(ctx.encoder)
    seed_globals(ctx.seed, "init")
    config = model_config(recipe, encoder, len(ade_class_names(ctx.data)))
    segmenter = build_segmenter(config, encoder)
    pipelines = {"train": train_pipeline(recipe), "test": eval_pipeline(recipe)}
    write_json(ctx.out / "config.json", {"model": config, "pipelines": pipelines})
    dropped = sorted(name for name in encoder.state if name.startswith(DROPPED))
    arrived = {"tensors": len(encoder.state) - len(dropped), "dropped": dropped}
    record_facts(ctx.out, encoder=encoder_facts(encoder), arrived=arrived)
    segmenter.to("cuda" if torch.cuda.is_available() else "cpu")
    optimizer = torch.optim.AdamW(parameter_groups(segmenter, recipe, encoder.spec.depth))
    keeper = Keeper(recipe, ctx, segmenter, optimizer)
    if keeper.start < recipe.iterations:
        with stop_signals() as stopped:
            keeper.stopped = stopped
            build_runner(recipe, ctx, segmenter, keeper).train()
    return evaluate(recipe, segmenter, ctx)


def build_runner(
    recipe: "Ade20kUperNet", ctx: Context, segmenter: nn.Module, keeper: "Keeper"
) -> Runner:
    """Return mmengine's runner for the iterations that are left."""
    assert ctx.data is not None
    wrapper = AmpOptimWrapper if torch.cuda.is_available() else OptimWrapper
    return Runner(
        model=segmenter,
        work_dir=str(ctx.out / "mmengine"),
        train_dataloader=train_loader(recipe, ctx.data, ctx.seed, keeper.start),
        train_cfg={"by_epoch": False, "max_iters": recipe.iterations - keeper.start},
        optim_wrapper=wrapper(optimizer=keeper.optimizer),
        default_hooks=dict.fromkeys(UNUSED_HOOKS),
        custom_hooks=[keeper],
        default_scope="mmseg",
        experiment_name=ctx.out.resolve().name,
        log_level="WARNING",
    )


class Keeper(Hook):  # type: ignore[misc] # mmengine has no types
    """Seeds each iteration, sets its learning rate, logs, saves and stops on a signal.

    Checkpoints are this project's, since mmengine's own are neither atomic nor checked.
    """

    def __init__(
        self, recipe: "Ade20kUperNet", ctx: Context, segmenter: nn.Module, optimizer: Optimizer
    ) -> None:
        self.recipe, self.ctx = recipe, ctx
        self.segmenter, self.optimizer = segmenter, optimizer
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.checkpoints = Checkpoints(ctx.out / "checkpoints")
        self.pace = Pace()
        self.stopped: list[int] = []
        self.start = self._resume()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Make the iteration's randomness and learning rate depend on its number alone."""
        iteration = self.start + runner.iter
        seed_globals(self.ctx.seed, "step", iteration)
        factor = lr_factor(self.recipe, iteration)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Log about every second, save now and then, and on a signal save and exit."""
        step, steps = self.start + runner.iter + 1, self.recipe.iterations
        last = step == steps
        if self.pace.log_due() or last:
            loss = outputs["loss"].item()
            if not np.isfinite(loss):
                raise ValueError(f"the run diverged: loss {loss} at step {step}; lower lr")
            append_metrics(self.ctx.out, step=step, steps=steps, loss=loss)
        if self.stopped or self.pace.save_due() or last:
            with self.pace.saving():
                self.checkpoints.save(step, self._state(step))
        if self.stopped and not last:
            log.info("stopped by signal %d after iteration %d", self.stopped[0], step)
            raise SystemExit(REQUEUE)

    def _state(self, step: int) -> dict[str, Any]:
        """Return all that the rest of the run depends on."""
        return {
            "segmenter": self.segmenter.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": step,
        }

    def _resume(self) -> int:
        """Load the newest checkpoint and return its iteration, 0 without one."""
        state = self.checkpoints.newest()
        if state is None:
            return 0
        self.segmenter.load_state_dict(state["segmenter"])
        self.optimizer.load_state_dict(state["optimizer"])
        log.info("resumed after iteration %d", state["step"])
        return int(state["step"])


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
