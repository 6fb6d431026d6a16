"""Areas for mIoU by one bincount a joint index, against mmsegmentation's IoUMetric.

python benchmarks/miou.py [--height 512] [--width 683] [--classes 150] [--images 8] [--rounds 11]
Label maps as in ADE20K: some classes in smooth regions, the prediction wrong along their borders,
a border ignored. Both get the same int64 maps, as mmsegmentation holds them.
"""

import argparse
import time

import torch
import torch.nn.functional as F
from side_by_side import medians, report

from transfer.miou import Areas, areas
from transfer.mmseg_adapter.toolbox import import_mmseg

IGNORED = 255


def made(options: argparse.Namespace) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return (prediction, truth) of each image."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pairs = []
    for _ in range(options.images):
        few = torch.randperm(options.classes)[:12]
        scores = torch.randn(1, len(few), 8, 10)
        maps = []
        for noise in (0.0, 0.4):
            seen = scores + noise * torch.randn_like(scores)
            large = F.interpolate(seen, (options.height, options.width), mode="bilinear")
            maps.append(few[large[0].argmax(0)].to(device))
        maps[1][:, :20] = IGNORED
        pairs.append((maps[0], maps[1]))
    return pairs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("height", 512), ("width", 683), ("classes", 150), ("images", 8)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    import_mmseg()
    from mmseg.evaluation import IoUMetric

    pairs, classes = made(options), options.classes

    def theirs() -> list[tuple[torch.Tensor, ...]]:
        return [IoUMetric.intersect_and_union(p, t, classes, IGNORED) for p, t in pairs]

    def ours() -> list[Areas]:
        return [areas(p, t, classes, IGNORED) for p, t in pairs]

    for one, other in zip(theirs(), ours(), strict=True):
        found = (other.intersection, other.union, other.prediction, other.truth)
        assert all((a.numpy() == b).all() for a, b in zip(one, found, strict=True))
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    seconds = medians({"IoUMetric": theirs, "one bincount": ours}, options.rounds, clock)
    speed = seconds["IoUMetric"] / seconds["one bincount"]
    report(
        f"areas of {classes} classes, {options.height} x {options.width} pixels, an image",
        {name: f"{1e3 * value / options.images:.2f} ms" for name, value in seconds.items()}
        | {"ratio": f"{speed:.1f}x"},
    )


if __name__ == "__main__":
    main()
