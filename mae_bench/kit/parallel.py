"""Spreads a module over the ranks: a copy each (DDP) or shards (FSDP2); fits the micro-batch."""

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.checkpoint.stateful import Stateful
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from mae_bench.core.compute import Compute
from mae_bench.kit.ranks import Ranks
from mae_bench.kit.split import divisors

log = logging.getLogger(__name__)

Module = TypeVar("Module", bound=nn.Module)
MOST_ON_CPU = 256
MOST_ON_GPU = 512
"""Larger micro-batches no longer raise the speed of a ViT."""
MEMORY_SHARE = 0.9


def shard(module: nn.Module, ranks: Ranks, compute: Compute) -> None:
    """Shard the module in place if that was asked for; to be called before the optimiser is made.

    Every transformer block is a shard group of its own, the rest is one more.
    """
    if compute.shard == "ddp" or ranks.world == 1:
        return
    module.unsharded = (copy.deepcopy(module).cpu(),)  # in a tuple: no part of the module
    mesh = init_device_mesh(ranks.device.type, (ranks.world,))
    for part in module.modules():
        if isinstance(part, nn.ModuleList):
            for block in part:
                fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)


def copies(module: nn.Module, ranks: Ranks) -> nn.Module:
    """Return what the loop calls: the module itself, or its DDP wrapper on several ranks."""
    if ranks.world == 1 or isinstance(module, FSDPModule):
        return module
    devices = [ranks.device] if ranks.device.type == "cuda" else None
    # Buffers are the same on all ranks by themselves: BatchNorm counts the rows of all.
    return DistributedDataParallel(
        module, device_ids=devices, gradient_as_bucket_view=True, broadcast_buffers=False
    )


def whole(module: Module, ranks: Ranks) -> Module:
    """Return the module with whole weights: itself, or a copy on the first rank if it is sharded.

    Every rank must call it; only the first gets the weights.
    """
    if not isinstance(module, FSDPModule):
        return module
    (copied,) = module.unsharded
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_model_state_dict(module, options=options)
    if ranks.first:
        copied.load_state_dict(state)
    return copied.to(ranks.device)


@contextmanager
def gradients(model: nn.Module, last: bool) -> Iterator[None]:
    """Let ranks exchange gradients only in the last forward pass of a step."""
    if isinstance(model, DistributedDataParallel) and not last:
        with model.no_sync():
            yield
        return
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
    yield


def full_state(module: nn.Module, optimizer: Stateful) -> dict[str, Any]:
    """Return the states of module and optimiser, whole, whatever the sharding.

    With shards every rank must call it, and only the first gets them.
    """
    if not isinstance(module, FSDPModule):
        return {"module": module.state_dict(), "optimizer": optimizer.state_dict()}
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights, moments = get_state_dict(module, optimizer, options=options)
    return {"module": weights, "optimizer": moments}


def load_full_state(module: nn.Module, optimizer: Stateful, state: dict[str, Any]) -> None:
    """Put whole states into module and optimiser, sharded or not."""
    if not isinstance(module, FSDPModule):
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        return
    set_state_dict(
        module,
        optimizer,
        model_state_dict=state["module"],
        optim_state_dict=state["optimizer"],
        options=StateDictOptions(full_state_dict=True),
    )


def fitting_micro_batch(
    module: nn.Module, share: int, ranks: Ranks, attempt: Callable[[int], None]
) -> int:
    """Return the largest divisor of a rank's share whose forward and backward pass fits.

    `attempt(micro)` runs one on made-up images; the two moments of AdamW are added, since this
    comes before the first step. On a CPU nothing is tried: at most 256. A module that says so by
    `micro_multiple` gets a multiple of that. Raises ValueError for a sharded module on a GPU, which
    a failed try would leave in disorder, and if nothing fits.
    """
    multiple = getattr(module, "micro_multiple", 1)
    possible = [d for d in divisors(share) if d % multiple == 0]
    if not possible:
        raise ValueError(
            f"each rank takes {share} images of a batch, and this recipe needs a multiple of "
            f"{multiple} (mixup mixes pairs); change --gpus"
        )
    if ranks.device.type == "cpu":
        return max([d for d in possible if d <= MOST_ON_CPU], default=possible[0])
    if isinstance(module, FSDPModule):
        raise ValueError(
            "--shard fsdp needs --micro-batch N: what fits cannot be tried with shards"
        )
    total = torch.cuda.get_device_properties(ranks.device).total_memory * MEMORY_SHARE
    moments = 2 * sum(p.numel() * p.element_size() for p in module.parameters() if p.requires_grad)
    for micro in reversed([d for d in possible if d <= MOST_ON_GPU] or possible[:1]):
        torch.cuda.reset_peak_memory_stats()
        try:
            attempt(micro)
            fits = torch.cuda.max_memory_allocated() + moments < total
        except torch.OutOfMemoryError:
            fits = False
        torch.cuda.empty_cache()
        if ranks.total(not fits)[0] == 0:
            log.info("micro-batch %d of %d images a rank", micro, share)
            return micro
    raise ValueError(
        "not even the smallest micro-batch fits into the GPU's memory; use --recompute, --shard "
        "fsdp on several GPUs, or a smaller --arch"
    )
