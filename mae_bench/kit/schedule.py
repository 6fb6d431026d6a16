"""The learning rate as a function of the fractional epoch."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class WarmupCosine:
    """Linear warm-up from exactly 0, then half a cosine down to `min_lr` (MAE, A.1)."""

    lr: float
    min_lr: float
    warmup_epochs: int
    epochs: int

    def at(self, epoch: float) -> float:
        """Return the learning rate at that fractional epoch, set before every step."""
        if epoch < self.warmup_epochs:
            return self.lr * epoch / self.warmup_epochs
        done = (epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
        return self.min_lr + (self.lr - self.min_lr) * 0.5 * (1.0 + math.cos(math.pi * done))


def scaled_lr(lr_per_256: float, batch_size: int) -> float:
    """Return the linear scaling rule: base rate x batch / 256 (Goyal et al. 2017)."""
    return lr_per_256 * batch_size / 256
