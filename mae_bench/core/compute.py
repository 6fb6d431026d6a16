"""How a training run uses its machine: speed and memory, never the recipe.

MAE's numbers change by rounding alone; mixup, stochastic depth and batch norm see micro-batches.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mae_bench.core.files import write_json
from mae_bench.core.recipe import typed_value, unknown

COMPUTE = "compute.json"


@dataclass(frozen=True, kw_only=True)
class Compute:
    """What a run may do with the machine; the total batch stays the recipe's in every case."""

    gpus: int = 1
    """Processes, of all nodes together, each with a GPU of its own or its share of the cores."""
    micro_batch: int | Literal["auto"] = "auto"
    """Images in one forward pass of one process; auto finds the most that fit into memory."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the matrix products; auto is bf16 on a GPU that has it and fp32 on a CPU."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether torch.compile fuses the model; auto does so on a GPU."""
    recompute: bool = False
    """Whether blocks are computed again for the gradient (gradient checkpointing): less memory."""
    shard: Literal["ddp", "fsdp"] = "ddp"
    """How several processes share a model: a whole copy each, or shards of it (FSDP2)."""
    workers: int = -1
    """Processes of each rank that read images; -1 suits the machine, 0 reads between the steps."""
    bad_images: float = 1e-4
    """Share of the images that may be unreadable and are then replaced; above it the run stops."""
    keep: int = 2
    """Checkpoints kept."""
    nonfinite: int = 3
    """Losses in a row that may be NaN or infinite before the run goes back to its checkpoint."""
    knn_every: int = 0
    """Epochs between k-nearest-neighbour accuracies of the encoder in training; 0 for none."""
    track: tuple[str, ...] = ()
    """Trackers that are told how it goes, such as tensorboard, wandb, mlflow, trackio."""
    force: bool = False
    """Whether a checkpoint of another configuration may be resumed; the result then says so."""

    def __post_init__(self) -> None:
        _require(self, "gpus", ">= 1", self.gpus >= 1)
        fits = self.micro_batch == "auto" or self.micro_batch >= 1
        _require(self, "micro_batch", "auto or >= 1", fits)
        _require(self, "workers", ">= -1", self.workers >= -1)
        _require(self, "bad_images", "in [0, 1)", 0 <= self.bad_images < 1)
        _require(self, "keep", ">= 1", self.keep >= 1)
        _require(self, "nonfinite", ">= 1", self.nonfinite >= 1)
        _require(self, "knn_every", ">= 0", self.knn_every >= 0)


def compute_from(values: Mapping[str, Any], where: str) -> Compute:
    """Return the settings of a table; ValueError names an unknown key or a wrong value."""
    known = {field.name: field.type for field in dataclasses.fields(Compute)}
    for name in values:
        if name not in known:
            raise ValueError(f"{where}: " + unknown("key of [compute]", name, known))
    typed = {k: typed_value(f"{where}: compute.{k}", v, known[k]) for k, v in values.items()}
    return Compute(**typed)


def write_compute(out: Path, compute: Compute) -> None:
    """Write the settings beside a job, for the process that runs it."""
    write_json(out / COMPUTE, dataclasses.asdict(compute))


def read_compute(out: Path) -> Compute:
    """Return the settings written in a job's folder, or the defaults."""
    path = out / COMPUTE
    return compute_from(json.loads(path.read_text()), str(path)) if path.exists() else Compute()


def _require(compute: Compute, field: str, allowed: str, valid: bool) -> None:
    """Raise ValueError naming the setting unless valid."""
    if not valid:
        raise ValueError(f"compute.{field} must be {allowed}, got {getattr(compute, field)!r}")
