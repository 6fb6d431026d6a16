"""A detector trained and scored by detectron2's engine, driven from a recipe."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from detectron2.engine.hooks import LRScheduler
from detectron2.evaluation import inference_on_dataset
from torch import nn
from torch.optim import Optimizer

from mae_bench.core.files import append_metrics, record_facts
from mae_bench.core.recipe import Context, fields_of
from mae_bench.kit.batch_norm import synced
from mae_bench.kit.batch_norm_share import batch_norm_deviations
from mae_bench.kit.encoder import Encoder, read_encoder
from mae_bench.kit.facts import encoder_facts
from mae_bench.kit.fit import for_toolbox
from mae_bench.kit.keeper import Keeper
from mae_bench.kit.machine import Machine
from mae_bench.kit.machine import start as start_machine
from mae_bench.kit.pace import Pace, stop_signals
from mae_bench.kit.parallel import copies
from mae_bench.kit.randomness import seed_globals
from transfer.detectron2_adapter.config import Resolved, complete, save_config, save_final
from transfer.detectron2_adapter.data import DetectionData, TrainFeed, test_loader
from transfer.detectron2_adapter.evaluation import coco_data
from transfer.detectron2_adapter.model import DROPPED, build_detector, parameter_groups
from transfer.detectron2_adapter.parts import chosen_split
from transfer.detectron2_adapter.trainer import (
    Course,
    DivergedError,
    KeeperHook,
    PartsTrainer,
    RecipeSchedule,
)

if TYPE_CHECKING:
    from transfer.detection import DetectionRecipe

log = logging.getLogger(__name__)

ModelConfig = Callable[[Any, Encoder, int], Any]
"""(recipe, encoder, number of classes) -> the model's lazy config."""


@dataclass(frozen=True)
class Job:
    """A recipe where it runs, and what it runs on."""

    recipe: "DetectionRecipe"
    ctx: Context
    machine: Machine
    data: DetectionData


def detect(
    recipe: "DetectionRecipe",
    ctx: Context,
    model_config: ModelConfig,
    data: DetectionData | None = None,
) -> dict[str, float]:
    """Train the detector from ctx.encoder and return the metrics that the data's evaluator yields.

    Without `data`, ctx.data is a COCO-format data set: box_ap and mask_ap in percent. May be called
    again in the same folder after a kill, and on several ranks. Leaves config.yaml and
    model_final.pth, which detectron2's own loaders take where this project is importable.
    """
    assert ctx.data is not None
    assert ctx.encoder is not None
    machine = start_machine(ctx.out)
    _refuse(machine)
    job = Job(recipe, ctx, machine, coco_data(ctx.data) if data is None else data)
    if not job.data.masks and any(metric.name == "mask_ap" for metric in recipe.metrics):
        raise ValueError(
            f"{ctx.data}: its objects have boxes only, but {recipe.name} needs masks; add each "
            "object's segmentation to the annotations, or use voc_detection, which learns boxes"
        )
    given = read_encoder(ctx.encoder)
    encoder = for_toolbox(given, "detectron2's ViT")
    seed_globals(ctx.seed, "init")
    config = model_config(recipe, encoder, len(job.data.class_names))
    complete(config, encoder.spec.norm_eps)
    detector = _placed(build_detector(config, encoder), machine)
    groups = parameter_groups(detector, recipe, encoder.spec.depth)
    optimizer = torch.optim.AdamW(groups, fused=machine.ranks.device.type == "cuda")
    if machine.ranks.first:
        depth, masks = encoder.spec.depth, job.data.masks
        run = Resolved(recipe, ctx.seed, machine, masks, depth, detector, optimizer)
        save_config(ctx.out, config, run)
        _note_facts(job, given, encoder)
    _train(job, detector, optimizer)
    if machine.ranks.first:
        save_final(detector, ctx.out)
    return _scored(job, detector)


def _refuse(machine: Machine) -> None:
    """Raise ValueError for a setting that detectors cannot follow."""
    if machine.compute.compile == "on":
        raise ValueError(
            "compute.compile on: a detector's shapes change with every image, so it is not "
            "compiled; use --compile auto or off"
        )
    if machine.compute.shard == "fsdp":
        raise ValueError(
            "compute.shard fsdp: detectron2's trainer keeps a whole model on each rank; use "
            "--shard ddp, with --recompute or a smaller --micro-batch if memory is short"
        )


def _placed(detector: nn.Module, machine: Machine) -> nn.Module:
    """Return the detector on this rank's device; ValueError if its blocks cannot recompute."""
    able = any(hasattr(part, "recompute") for part in detector.modules())
    if machine.compute.recompute and not able:
        raise ValueError("compute.recompute: this detector's blocks cannot; leave --recompute out")
    return machine.take(synced(detector, machine.ranks))


def _note_facts(job: Job, given: Encoder, encoder: Encoder) -> None:
    """Record the encoder, what load_exactly proved of it, and the counts of the data."""
    dropped = sorted(name for name in encoder.state if name.startswith(DROPPED))
    data = job.data
    record_facts(
        job.ctx.out,
        encoder=encoder_facts(given, encoder),
        arrived={"tensors": len(encoder.state) - len(dropped), "dropped": dropped},
        data={
            "classes": len(data.class_names),
            "images": len(data.train),
            "val_images": len(data.test),
        },
    )


def _train(job: Job, detector: nn.Module, optimizer: Optimizer) -> None:
    """Take the iterations that are left.

    Several losses in a row that are not finite lead back to the newest checkpoint and on in another
    order, and to ValueError if that does not help.
    """
    recipe, machine = job.recipe, job.machine
    keeper = Keeper(job.ctx.out, recipe.iterations, detector, optimizer, machine)
    feed = TrainFeed(recipe, job.data, job.ctx.seed, machine.compute.workers)
    identity = {"recipe": recipe.name, "version": recipe.version, **fields_of(recipe)}
    identity |= {"seed": job.ctx.seed, "images": feed.num_images}
    keeper.same_run(identity, machine.compute.force)
    split = chosen_split(recipe, detector, keeper, machine)
    most_unreadable = int(machine.compute.bad_images * feed.num_images)
    course = Course(recipe, job.ctx.seed, machine, split, most_unreadable)
    model, step = copies(detector, machine.ranks), keeper.start
    while step < recipe.iterations:
        batches = feed.batches(step, split, keeper.extra.get("detour", 0))
        trainer = PartsTrainer(model, batches, optimizer, course)
        trainer.register_hooks([LRScheduler(optimizer, RecipeSchedule(recipe)), KeeperHook(keeper)])
        if "trainer" in keeper.extra:
            trainer.load_state_dict(keeper.extra["trainer"])
        try:
            with stop_signals() as keeper.stopped:
                trainer.train(step, recipe.iterations)
            break
        except DivergedError as error:
            step = _go_back(keeper, error)
    if machine.ranks.first:
        _note_training(job, keeper, course, detector)


def _go_back(keeper: Keeper, reason: DivergedError) -> int:
    """Return the step of the newest checkpoint, whose state is taken; ValueError the second time.

    Without one the run goes on from here: steps left out did not touch the weights. The state is
    saved, so that a kill brings back neither the order nor the counts of before.
    """
    if keeper.extra.get("detour", 0):
        raise ValueError(
            f"the run diverged: {reason}, again in another order; lower the "
            "learning rate or use --precision fp32"
        )
    counted = {name: keeper.extra[name] for name in ("skipped", "unreadable")}
    found = keeper.resume()
    keeper.extra |= counted | {"detour": 1, "went_back": int(found > 0)}
    keeper.ranks.wait()  # until all have read what the save may replace
    keeper.before_save = lambda: None  # the trainer that would note its state is given up
    keeper.save(found or reason.step)
    log.warning("%s: on from step %d, in another order", reason, found or reason.step)
    return found or reason.step


def _note_training(job: Job, keeper: Keeper, course: Course, detector: nn.Module) -> None:
    """Record how the detector was trained, and what differed from the recipe by it."""
    training = {
        "world": course.split.world,
        "micro_batch": course.split.micro,
        "precision": str(job.machine.dtype).removeprefix("torch."),
        "compiled": False,
        "skipped_steps": keeper.extra.get("skipped", 0),
        "went_back": keeper.extra.get("went_back", 0),
    }
    deviations = batch_norm_deviations(detector, job.recipe.batch_size, keeper.extra)
    record_facts(job.ctx.out, training=training, deviations=deviations)


def _scored(job: Job, detector: nn.Module) -> dict[str, float]:
    """Return the metrics of the detector on the test images, the same on every rank."""
    ctx, ranks, steps = job.ctx, job.machine.ranks, job.recipe.iterations
    loader = test_loader(job.recipe, job.data, job.machine.compute.workers)
    pace, done = Pace(), iter(range(1, len(loader) + 1))

    def progress() -> None:
        images = next(done)
        if ranks.first and pace.log_due():
            of = f"{images * ranks.world} of {len(job.data.test)} images"
            append_metrics(ctx.out, step=steps, steps=steps, evaluated=of)

    evaluator = job.data.evaluator(ctx.out)
    callbacks = {"after_inference": progress}
    metrics = inference_on_dataset(detector, loader, evaluator, callbacks)
    shared: dict[str, float] = ranks.share(metrics)
    return shared
