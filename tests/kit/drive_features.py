"""Computes features on this rank in parts of 8 images: drive_features.py ENCODER DATA OUT [PAUSE].

Prints how many images this rank read; the first rank leaves the features in OUT. PAUSE: seconds
that an image takes longer to read.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch

from mae_bench.kit import features
from mae_bench.kit.encoder import read_encoder
from mae_bench.kit.machine import start
from mae_bench.kit.samples import Samples, read_samples


class Counted(Samples):
    """Samples that count what is read of them."""

    number = 0

    def read(self, index):
        Counted.number += 1
        time.sleep(pause)
        return super().read(index)


if __name__ == "__main__":
    torch.set_num_threads(1)
    features.CHUNK = 8
    encoder, data, out = map(Path, sys.argv[1:4])
    pause = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0
    machine = start(out.parent)
    samples = read_samples(data, "train")
    samples = Counted(samples.root, samples.names, samples.labels, samples.classes)
    found = features.frozen_features(read_encoder(encoder), samples, machine)
    if machine.ranks.first:
        np.save(out, found.rows().numpy())
    print(Counted.number)
    machine.ranks.wait()
