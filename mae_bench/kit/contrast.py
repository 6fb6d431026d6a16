"""Losses that compare two views of a batch on all ranks; with one rank or many they are the same.

Each returns the mean over this rank's rows; averaged over ranks, as DDP averages gradients, values
and gradients are those of the whole batch on one rank.
"""

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.functional import cosine_similarity, cross_entropy, normalize


def mean_cosine(
    first: Float[Tensor, "batch width"], second: Float[Tensor, "batch width"]
) -> Float[Tensor, ""]:
    """Return the mean cosine of rows in the same place, in float32 on every device."""
    with torch.autocast(first.device.type, enabled=False):
        return cosine_similarity(first.float(), second.float()).mean()


def info_nce(
    queries: Float[Tensor, "batch width"], keys: Float[Tensor, "batch width"], temperature: float
) -> Float[Tensor, ""]:
    """Return the mean cross entropy of telling each query's key from the keys of the whole batch.

    Rows are normalised; logits are cosines over the temperature (van den Oord et al. 2018, arXiv
    1807.03748, as in Chen et al. 2021, eq. 1). Gradients pass to keys of other ranks too.
    """
    with torch.autocast(queries.device.type, enabled=False):
        queries, keys = normalize(queries.float(), dim=1), normalize(keys.float(), dim=1)
        logits = queries @ gathered(keys).T / temperature
        return cross_entropy(logits, own_rows(len(queries), queries.device))


def nt_xent(
    first: Float[Tensor, "batch width"], second: Float[Tensor, "batch width"], temperature: float
) -> Float[Tensor, ""]:
    """Return the mean cross entropy of telling each view's other view from all views of the batch.

    A view is not compared with itself (SimCLR, Chen et al. 2020, arXiv 2002.05709, eq. 1).
    """
    with torch.autocast(first.device.type, enabled=False):
        first, second = normalize(first.float(), dim=1), normalize(second.float(), dim=1)
        of_first, of_second = gathered(first), gathered(second)
        own = own_rows(len(first), first.device)
        targets = torch.cat([own + len(of_second), own])
        logits = torch.cat([first, second]) @ torch.cat([of_first, of_second]).T / temperature
        itself = torch.cat([own, own + len(of_first)])
        logits = logits.scatter(1, itself[:, None], -torch.inf)
        return cross_entropy(logits, targets)


def queue_nce(
    queries: Float[Tensor, "batch width"],
    keys: Float[Tensor, "batch width"],
    queue: Float[Tensor, "size width"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Return the mean cross entropy of telling each query's key from those in the queue.

    Queries and keys are normalised here, the queue is so already (He et al. 2019, arXiv 1911.05722,
    eq. 1).
    """
    with torch.autocast(queries.device.type, enabled=False):
        queries, keys = normalize(queries.float(), dim=1), normalize(keys.float(), dim=1)
        own = (queries * keys).sum(dim=1, keepdim=True)
        logits = torch.cat([own, queries @ queue.T], dim=1) / temperature
        return cross_entropy(logits, torch.zeros_like(logits[:, 0], dtype=torch.long))


class Queue(nn.Module):
    """The newest keys of all ranks, normalised, as MoCo keeps them; a checkpoint holds them."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("keys", normalize(torch.randn(size, width), dim=1))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))

        self.waiting: Tensor | None = None
        """Keys of this rank that enter after the step."""

    @torch.no_grad()
    def push(self) -> None:
        """Put the waiting keys of all ranks in the place of the oldest; every rank must call it.

        The whole batch must divide the size.
        """
        assert self.waiting is not None
        keys = gathered(normalize(self.waiting.float(), dim=1))
        rows = self.place + torch.arange(len(keys), device=keys.device)
        self.keys[rows] = keys
        self.place.copy_((self.place + len(keys)) % len(self.keys))
        self.waiting = None


def gathered(rows: Float[Tensor, "batch width"]) -> Float[Tensor, "whole width"]:
    """Return the rows of all ranks in order; gradients go back to the rank that they are of.

    Every rank must call it with as many rows. It is a sum of what each rank puts into its own
    place, since gloo cannot pass gradients back through a gathering.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return rows
    before, after = dist.get_rank(), dist.get_world_size() - dist.get_rank() - 1
    number = len(rows)
    placed = torch.nn.functional.pad(rows, (0, 0, before * number, after * number))
    return all_reduce(placed)


def own_rows(number: int, device: torch.device) -> Tensor:
    """Return where this rank's rows are among those that `gathered` returns."""
    first = dist.get_rank() * number if dist.is_initialized() else 0
    return torch.arange(first, first + number, device=device)
