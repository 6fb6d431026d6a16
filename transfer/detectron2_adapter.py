"""COCO detection in detectron2: its Mask R-CNN, trainer and mapper, driven from a recipe."""

import logging
from typing import TYPE_CHECKING, Any

import torch
from detectron2.config import LazyConfig
from detectron2.engine import AMPTrainer, HookBase, SimpleTrainer
from omegaconf import OmegaConf
from torch import nn
from torch.optim import Optimizer

from mae_bench.core.files import append_metrics, record_facts
from mae_bench.core.recipe import Context
from mae_bench.kit.checkpoint import Checkpoints
from mae_bench.kit.encoder import Encoder, read_encoder
from mae_bench.kit.facts import encoder_facts
from mae_bench.kit.pace import REQUEUE, Pace, stop_signals
from mae_bench.kit.randomness import seed_globals
from transfer.detectron2_data import read_split, train_loader
from transfer.detectron2_evaluation import evaluate
from transfer.detectron2_model import (
    DROPPED,
    build_detector,
    lr_factor,
    model_config,
    parameter_groups,
)

if TYPE_CHECKING:
    from transfer.coco_vitdet import CocoVitDet

log = logging.getLogger(__name__)


def detect(recipe: "CocoVitDet", ctx: Context) -> dict[str, float]:
    """Train the detector on ctx.data from ctx.encoder; return box_ap and mask_ap in percent."""
    assert ctx.data is not None
    assert ctx.encoder is not None
    encoder = read_encoder(ctx.encoder)
    split = read_split(ctx.data, "train2017")
    seed_globals(ctx.seed, "init")
    config = model_config(recipe, encoder, len(split.category_ids))
    LazyConfig.save(OmegaConf.create({"model": config}), str(ctx.out / "config.yaml"))
    detector = build_detector(config, encoder)
    record_facts(ctx.out, encoder=encoder_facts(encoder), arrived=_arrived(encoder))
    detector.to("cuda" if torch.cuda.is_available() else "cpu")
    optimizer = torch.optim.AdamW(parameter_groups(detector, recipe, encoder.spec.depth))
    keeper = Keeper(recipe, ctx, detector, optimizer)
    loader = train_loader(recipe, split, ctx.seed, keeper.start)
    engine = AMPTrainer if torch.cuda.is_available() else SimpleTrainer
    trainer: Any = engine(detector.train(), loader, optimizer)
    trainer.register_hooks([keeper])
    with stop_signals() as stopped:
        keeper.stopped = stopped
        trainer.train(keeper.start, recipe.iterations)
    return evaluate(recipe, detector, ctx)


class Keeper(HookBase):  # type: ignore[misc] # detectron2 has no types
    """Seeds each iteration, sets its learning rate, logs, saves and stops on a signal.

    Checkpoints are this project's, since detectron2's own are neither atomic nor checked.
    """

    def __init__(
        self, recipe: "CocoVitDet", ctx: Context, detector: nn.Module, optimizer: Optimizer
    ) -> None:
        self.recipe, self.ctx = recipe, ctx
        self.detector, self.optimizer = detector, optimizer
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.checkpoints = Checkpoints(ctx.out / "checkpoints")
        self.pace = Pace()
        self.stopped: list[int] = []
        self.start = self._resume()

    def before_step(self) -> None:
        """Make the iteration's randomness and learning rate depend on its number alone."""
        seed_globals(self.ctx.seed, "step", self.trainer.iter)
        factor = lr_factor(self.recipe, self.trainer.iter)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def after_step(self) -> None:
        """Log about every second, save now and then, and on a signal save and exit."""
        step, steps = self.trainer.iter + 1, self.recipe.iterations
        last = step == steps
        if self.pace.log_due() or last:
            loss = self.trainer.storage.latest()["total_loss"][0]
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
            "detector": self.detector.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": step,
        }

    def _resume(self) -> int:
        """Load the newest checkpoint and return its iteration, 0 without one."""
        state = self.checkpoints.newest()
        if state is None:
            return 0
        self.detector.load_state_dict(state["detector"])
        self.optimizer.load_state_dict(state["optimizer"])
        log.info("resumed after iteration %d", state["step"])
        return int(state["step"])


def _arrived(encoder: Encoder) -> dict[str, Any]:
    """Return what load_exactly proved: tensors in the detector, and those without a place."""
    dropped = sorted(name for name in encoder.state if name.startswith(DROPPED))
    return {"tensors": len(encoder.state) - len(dropped), "dropped": dropped}
