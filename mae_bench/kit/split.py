"""How the recipe's batch is divided over ranks and forward passes, always without remainder."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Split:
    """One rank's part of each batch, taken in `parts` forward passes of `micro` images."""

    batch_size: int
    rank: int
    world: int
    micro: int

    @property
    def share(self) -> int:
        """Images of each batch that this rank sees."""
        return self.batch_size // self.world

    @property
    def parts(self) -> int:
        """Forward passes of one optimiser step."""
        return self.share // self.micro

    def rows(self, part: int) -> slice:
        """Return which images of the batch the part holds."""
        start = self.rank * self.share + part * self.micro
        return slice(start, start + self.micro)


def share_of(batch_size: int, world: int) -> int:
    """Return a rank's images of each batch; ValueError with the possible numbers of ranks."""
    if batch_size % world:
        raise ValueError(
            f"a batch of {batch_size} cannot be divided over {world} processes; possible numbers: "
            f"{_list(divisors(batch_size))}; change --gpus (or --batch-size, which changes results)"
        )
    return batch_size // world


def split_batch(batch_size: int, rank: int, world: int, micro: int) -> Split:
    """Return the split; ValueError with the possible micro-batches if it leaves a remainder."""
    share = share_of(batch_size, world)
    if micro < 1 or share % micro:
        raise ValueError(
            f"a micro-batch of {micro} does not divide the {share} images of a batch of "
            f"{batch_size} that each of {world} processes takes; possible: "
            f"{_list(divisors(share))}; change --micro-batch"
        )
    return Split(batch_size, rank, world, micro)


def divisors(number: int) -> list[int]:
    """Return all divisors, rising."""
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return small + [number // d for d in reversed(small) if d * d != number]


def _list(numbers: list[int]) -> str:
    """Return the numbers as text, the middle of a long list left out."""
    shown = [str(n) for n in numbers]
    return ", ".join(shown if len(shown) <= 14 else [*shown[:7], "...", *shown[-6:]])
