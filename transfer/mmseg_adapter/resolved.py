"""The whole run as a config file and a checkpoint of mmengine's, for mmsegmentation alone."""

import io
import pprint
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mae_bench.core.files import write_bytes
from mae_bench.kit.machine import Machine
from mae_bench.kit.split import Split
from transfer.mmseg_adapter.data import (
    dataset_config,
    eval_pipeline,
    plain_labels,
    train_pipeline,
)
from transfer.mmseg_adapter.model import ignored_index
from transfer.mmseg_adapter.rules import BETAS, parameter_groups, training_dtype

if TYPE_CHECKING:
    from transfer.segmentation import Part, SegmentationRecipe

CONFIG = "config.py"
HEADER = "# Resolved by mae-bench, to be read; mmsegmentation evaluates iter_{}.pth with it.\n"


def write_config(path: Path, model: dict[str, Any], rest: dict[str, Any], steps: int) -> None:
    """Write an mmengine config file, whole or not at all."""
    sections = {"default_scope": "mmseg", "model": model, **rest}
    text = HEADER.format(steps) + "".join(
        f"\n{name} = {pprint.pformat(value, width=96, sort_dicts=False)}\n"
        for name, value in sections.items()
    )
    write_bytes(path, text.encode())


def run_config(
    recipe: "SegmentationRecipe", root: Path, segmenter: nn.Module, machine: Machine, split: Split
) -> dict[str, Any]:
    """Return data, optimiser, schedule and evaluation as mmengine's configs have them."""
    ignored = ignored_index(len(recipe.class_names(root)))
    test = {
        "batch_size": 1,
        "num_workers": 0,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": _dataset(recipe, root, "test"),
    }
    metric = {"type": "IoUMetric", "iou_metrics": ["mIoU"], "ignore_index": ignored}
    return {
        "train_dataloader": {
            "batch_size": split.micro,
            "num_workers": 0,
            "sampler": {"type": "InfiniteSampler", "shuffle": True},
            "dataset": _dataset(recipe, root, "train"),
        },
        "val_dataloader": test,
        "test_dataloader": test,
        "test_pipeline": test["dataset"]["pipeline"],  # mmseg.apis.inference_model reads it
        "val_evaluator": metric,
        "test_evaluator": metric,
        "optim_wrapper": _optim_wrapper(recipe, segmenter, machine, split),
        "param_scheduler": _schedulers(recipe, split.parts),
        "train_cfg": {
            "type": "IterBasedTrainLoop",
            "max_iters": recipe.iterations * split.parts,
            "val_interval": recipe.iterations * split.parts,
        },
        "val_cfg": {"type": "ValLoop"},
        "test_cfg": {"type": "TestLoop"},
        "log_processor": {"by_epoch": False},
    }


def save_weights(path: Path, segmenter: nn.Module, meta: dict[str, Any]) -> None:
    """Write weights and `meta` in the form of mmengine's checkpoints, whole or not at all."""
    state = {name: tensor.cpu() for name, tensor in segmenter.state_dict().items()}
    content = io.BytesIO()
    torch.save({"meta": meta, "state_dict": state}, content)
    write_bytes(path, content.getbuffer())


def _dataset(recipe: "SegmentationRecipe", root: Path, part: "Part") -> dict[str, Any]:
    """Return the config of a split with its pipeline."""
    number = len(recipe.class_names(root))
    make = train_pipeline if part == "train" else eval_pipeline
    pipeline = make(recipe, plain_labels(recipe, number), number)
    return dataset_config(recipe, root, part) | {"pipeline": pipeline}


def _optim_wrapper(
    recipe: "SegmentationRecipe", segmenter: nn.Module, machine: Machine, split: Split
) -> dict[str, Any]:
    """Return the wrapper's config: each parameter's rules by its name, or mmsegmentation's own."""
    dtype, depth = training_dtype(recipe, machine), len(segmenter.backbone.layers)
    half = {"type": "AmpOptimWrapper", "dtype": str(dtype).removeprefix("torch.")}
    config: dict[str, Any] = {
        **({"type": "OptimWrapper"} if dtype == torch.float32 else half),
        "optimizer": {
            "type": "AdamW",
            "lr": recipe.lr,
            "betas": BETAS,
            "weight_decay": recipe.weight_decay,
        },
        "accumulative_counts": split.parts,
    }
    if recipe.training_rules == "mmsegmentation":
        layers = {"num_layers": depth, "layer_decay_rate": recipe.layer_decay}
        return config | {"constructor": "LayerDecayOptimizerConstructor", "paramwise_cfg": layers}
    rules = {
        name: {"lr_mult": group["lr"] / recipe.lr, "decay_mult": float(group["weight_decay"] > 0)}
        for group in parameter_groups(segmenter, recipe, depth)
        for name in group["names"]
    }
    return config | {"paramwise_cfg": {"custom_keys": rules}}


def _schedulers(recipe: "SegmentationRecipe", parts: int) -> list[dict[str, Any]]:
    """Return mmengine's warm-up and decay, which SegmentationRecipe.lr_factor computes.

    mmengine counts forward passes, of which a step takes `parts`.
    """
    start, end = recipe.warmup_iterations * parts, recipe.iterations * parts
    decay = {"type": "PolyLR", "eta_min": 0.0, "power": 1.0, "begin": start}
    schedulers = [decay | {"end": end, "by_epoch": False}]
    if start:
        warmup = {"type": "LinearLR", "start_factor": 1e-6, "by_epoch": False}
        schedulers.insert(0, warmup | {"begin": 0, "end": start})
    return schedulers
