"""Parts of a training set: some images of every class, chosen by seed."""

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from mae_bench.kit.randomness import stream_seed
from mae_bench.kit.samples import Samples


def stratified(samples: Samples, share: float, seed: int) -> Int[ndarray, " chosen"]:
    """Return the sorted indices of that share of each class, rounded, at least one image.

    Raises ValueError naming the class if one has no image.
    """
    rng = np.random.default_rng(stream_seed(seed, "subset"))
    chosen = []
    for label, name in enumerate(samples.classes):
        indices = np.flatnonzero(samples.labels == label)
        if not len(indices):
            raise ValueError(f"{samples.root}: class {name} has no images")
        count = max(1, round(share * len(indices)))
        chosen.append(rng.permutation(indices)[:count])
    return np.sort(np.concatenate(chosen))


def held_out(samples: Samples, share: float, seed: int) -> tuple[Samples, Samples]:
    """Return the images to train on and those held out, that share of each class.

    Raises ValueError if a class would have no image left to train on.
    """
    indices = stratified(samples, share, seed)
    rest = np.setdiff1d(np.arange(len(samples)), indices)
    left = np.bincount(samples.labels[rest], minlength=len(samples.classes))
    if not left.all():
        name = samples.classes[int(left.argmin())]
        raise ValueError(
            f"{samples.root}: class {name} has too few images to hold some out for choosing the "
            "learning rate; give a single one with --lr-factors 1"
        )
    return samples.subset(rest), samples.subset(indices)
