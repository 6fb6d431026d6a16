"""BatchNorm whose statistics are taken over all ranks, on GPUs and on CPUs."""

from typing import TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm

from mae_bench.kit.ranks import Ranks

Module = TypeVar("Module", bound=nn.Module)


class RankBatchNorm(nn.BatchNorm2d):  # by which detectron2 knows norms: they are not decayed
    """BatchNorm over the rows of all ranks, for those that torch's SyncBatchNorm refuses: CPUs.

    Ranks may hold different numbers of rows, or none. Every rank must call it in training.
    """

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        """Accept [batch, channels, ...]."""

    def forward(self, given: Float[Tensor, "batch channels ..."]) -> Float[Tensor, "..."]:
        """Return the normalised rows; in training the running statistics are updated.

        Sums are in fp32 whatever the rows are: a count of rows has no place in half precision.
        """
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(given)
        rows = given.float()
        own = [0, *range(2, rows.ndim)]
        shape = [1, -1] + [1] * (rows.ndim - 2)
        number = rows.numel() // rows.shape[1]
        sums = all_reduce(torch.cat([rows.sum(own), rows.new_tensor([float(number)])]))
        count = sums[-1].detach().clamp(min=1)
        centred = rows - (sums[:-1] / count).view(shape)
        variance = all_reduce(centred.square().sum(own)) / count
        self._track(sums[:-1] / count, variance * count / (count - 1).clamp(min=1), sums[-1] > 0)
        normed = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normed = normed * self.weight.view(shape) + self.bias.view(shape)
        return normed.to(given.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, any_rows: Tensor) -> None:
        """Move the running statistics towards those of this batch, if there were rows at all."""
        if self.track_running_stats:
            share = self.momentum * any_rows
            self.num_batches_tracked.add_(any_rows.long())
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance, share)


def synced(module: Module, ranks: Ranks) -> Module:
    """Return the module with every BatchNorm over all ranks; with one rank it stays as it is.

    Weights and statistics are the same tensors as before, so an optimiser may exist already. To be
    called before DDP.
    """
    if ranks.world == 1:
        return module
    if ranks.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for name, child in list(module.named_modules()):
        if isinstance(child, _BatchNorm) and not isinstance(child, RankBatchNorm):
            parent, _, own = name.rpartition(".")
            setattr(module.get_submodule(parent), own, _over_ranks(child))
    return module


def _over_ranks(norm: _BatchNorm) -> RankBatchNorm:
    """Return a RankBatchNorm that holds the tensors of the given one."""
    whole = RankBatchNorm(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
    )
    for name, parameter in norm.named_parameters():
        setattr(whole, name, parameter)
    for name, buffer in norm.named_buffers():
        setattr(whole, name, buffer)
    return whole.train(norm.training)
