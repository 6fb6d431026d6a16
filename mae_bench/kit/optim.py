"""The optimisers: parameter groups with layer-wise decay, AdamW, SGD and LARS."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

Group = dict[str, Any]
NO_DECAY = ("pos_embed", "cls_token", "reg_token")


def adamw(groups: list[Group], beta2: float) -> Optimizer:
    """Return AdamW with betas 0.9 and beta2; whoever trains sets the learning rate."""
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, beta2), fused=True)


def sgd(groups: list[Group], momentum: float = 0.9) -> Optimizer:
    """Return SGD with momentum; whoever trains sets the learning rate.

    The moments start as zeros: torch's fused kernel never writes those of a first step that is left
    out, and reads them in the second. Shards have no fused kernel.
    """
    parameters = [parameter for group in groups for parameter in group["params"]]
    fused = not any(isinstance(parameter, DTensor) for parameter in parameters)
    optimizer = torch.optim.SGD(groups, lr=0.0, momentum=momentum, fused=fused)
    for parameter in parameters if fused and momentum else ():
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def decay_groups(model: nn.Module, weight_decay: float) -> list[Group]:
    """Return two groups: trainable tensors of 2 or more dimensions decay, biases and norms do not.

    MAE's cls and mask token have three dimensions and do decay, as in the reference.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]


def layer_id(name: str, depth: int) -> int:
    """Return 0 for the embeddings, i+1 for block i, depth+1 for what follows the blocks.

    Raises ValueError for a name that is none of these: a silent default would give a layer the
    full learning rate.
    """
    first, *rest = name.split(".")
    if first in ("cls_token", "reg_token", "pos_embed", "patch_embed"):
        return 0
    if first == "blocks" and 0 <= int(rest[0]) < depth:
        return int(rest[0]) + 1
    if first in ("norm", "fc_norm", "head"):
        return depth + 1
    raise ValueError(f"no layer id for parameter {name!r} of a ViT of depth {depth}")


def layer_decay_groups(
    model: nn.Module, depth: int, layer_decay: float, weight_decay: float
) -> list[Group]:
    """Return one group per (layer, decayed or not), each with `lr_scale` = decay^(depth+1-id).

    Biases, norms, the position embeddings, cls token and registers do not decay (MAE, BEiT).
    """
    groups: dict[tuple[int, bool], Group] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        table = name.endswith("relative_position_bias_table")
        decays = parameter.ndim > 1 and name not in NO_DECAY and not table
        layer = layer_id(name, depth)
        empty: Group = {
            "params": [],
            "names": [],
            "weight_decay": weight_decay if decays else 0.0,
            "lr_scale": layer_decay ** (depth + 1 - layer),
        }
        group = groups.setdefault((layer, decays), empty)
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def groups_table(groups: list[Group]) -> str:
    """Return the groups as text, a line each: lr scale, decay, tensors and what they are.

    Raises ValueError unless every block has one lr scale and no two blocks or the embeddings share
    theirs, as a layer decay below 1 demands: a scheme that matches no name trains at full rate.
    """
    lines = ["  lr scale  decay  tensors  of"]
    scales: dict[str, set[float]] = {}
    for group in groups:
        parts = [".".join(n.split(".")[: 1 + n.startswith("blocks.")]) for n in group["names"]]
        for part in parts:
            scales.setdefault(part, set()).add(group["lr_scale"])
        what = ", ".join(dict.fromkeys(parts))
        lines.append(
            f"  {group['lr_scale']:8.6f}  {group['weight_decay']:5g}  {len(parts):7d}  {what}"
        )
    torn = [part for part, found in scales.items() if len(found) > 1]
    if torn:
        raise ValueError(f"{', '.join(torn)} have several lr scales, expected one for each layer")
    blocks = {part: found.pop() for part, found in scales.items() if part.startswith("blocks.")}
    decays = any(group["lr_scale"] < 1 for group in groups)
    if decays and len(set(blocks.values())) < len(blocks):
        raise ValueError(f"blocks share an lr scale, expected one for each: {blocks}")
    return "\n".join(lines)


class LARS(Optimizer):
    """SGD with momentum whose matrices take a trust ratio (You et al. 2017, arXiv 1708.03888).

    Tensors of one dimension are neither decayed nor rescaled, as in MAE's linear probe.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.0,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        trust: float = 0.001,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "trust": trust,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step with the gradients at hand."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Tensor, group: Group) -> None:
        """Move one parameter: rescale, momentum, step."""
        update = parameter.grad
        assert update is not None
        if parameter.ndim > 1:
            update = update.add(parameter, alpha=group["weight_decay"])
            weight_norm, update_norm = parameter.norm(), update.norm()
            both = (weight_norm > 0) & (update_norm > 0)
            ratio = torch.where(both, group["trust"] * weight_norm / update_norm, 1.0)
            update = update * ratio
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].mul_(group["momentum"]).add_(update)
        parameter.add_(state["momentum"], alpha=-group["lr"])
