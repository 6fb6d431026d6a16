"""COCO detection in detectron2: its Mask R-CNN, trainer and mapper, driven from a recipe."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from detectron2.config import LazyConfig
from detectron2.engine import AMPTrainer, HookBase, SimpleTrainer
from omegaconf import OmegaConf

from mae_bench.core.files import record_facts
from mae_bench.core.recipe import Context
from mae_bench.kit.encoder import Encoder, read_encoder
from mae_bench.kit.facts import encoder_facts
from mae_bench.kit.fit import for_toolbox
from mae_bench.kit.keeper import Keeper
from mae_bench.kit.pace import stop_signals
from mae_bench.kit.randomness import seed_globals
from transfer.detectron2_adapter.data import read_split, train_loader
from transfer.detectron2_adapter.evaluation import evaluate
from transfer.detectron2_adapter.model import (
    DROPPED,
    build_detector,
    parameter_groups,
)

if TYPE_CHECKING:
    from transfer.detection import DetectionRecipe

log = logging.getLogger(__name__)


ModelConfig = Callable[[Any, Encoder, int], Any]
"""(recipe, encoder, number of classes) -> the model's lazy config."""


def detect(recipe: "DetectionRecipe", ctx: Context, model_config: ModelConfig) -> dict[str, float]:
    """Train the detector on ctx.data from ctx.encoder; return box_ap and mask_ap in percent."""
    assert ctx.data is not None
    assert ctx.encoder is not None
    given = read_encoder(ctx.encoder)
    encoder = for_toolbox(given, "detectron2's ViT")
    split = read_split(ctx.data, "train2017")
    seed_globals(ctx.seed, "init")
    config = model_config(recipe, encoder, len(split.category_ids))
    LazyConfig.save(OmegaConf.create({"model": config}), str(ctx.out / "config.yaml"))
    detector = build_detector(config, encoder)
    counts = {
        "classes": len(split.category_ids),
        "images": len(split.records),
        "val_images": len(read_split(ctx.data, "val2017").records),
    }
    facts = {"encoder": encoder_facts(given, encoder), "arrived": _arrived(encoder)}
    record_facts(ctx.out, **facts, data=counts)
    detector.to("cuda" if torch.cuda.is_available() else "cpu")
    optimizer = torch.optim.AdamW(parameter_groups(detector, recipe, encoder.spec.depth))
    hook = KeeperHook(recipe, ctx.seed, Keeper(ctx.out, recipe.iterations, detector, optimizer))
    start = hook.keeper.start
    loader = train_loader(recipe, split, ctx.seed, start)
    engine = AMPTrainer if torch.cuda.is_available() else SimpleTrainer
    trainer: Any = engine(detector.train(), loader, optimizer)
    trainer.register_hooks([hook])
    with stop_signals() as hook.keeper.stopped:
        trainer.train(start, recipe.iterations)
    return evaluate(recipe, detector, ctx)


class KeeperHook(HookBase):  # type: ignore[misc] # detectron2 has no types
    """Seeds each iteration, sets its learning rate, and lets the keeper log, save and stop.

    Checkpoints are this project's, since detectron2's own are neither atomic nor checked.
    """

    def __init__(self, recipe: "DetectionRecipe", seed: int, keeper: Keeper) -> None:
        self.recipe, self.seed, self.keeper = recipe, seed, keeper

    def before_step(self) -> None:
        """Make the iteration's randomness and learning rate depend on its number alone."""
        seed_globals(self.seed, "step", self.trainer.iter)
        factor = self.recipe.lr_factor(self.trainer.iter)
        for group in self.keeper.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def after_step(self) -> None:
        """Pass the iteration's loss on."""
        self.keeper.after(self.trainer.iter + 1, self.trainer.storage.latest()["total_loss"][0])


def _arrived(encoder: Encoder) -> dict[str, Any]:
    """Return what load_exactly proved: tensors in the detector, and those without a place."""
    dropped = sorted(name for name in encoder.state if name.startswith(DROPPED))
    return {"tensors": len(encoder.state) - len(dropped), "dropped": dropped}
