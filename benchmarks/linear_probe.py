"""Sixteen learning rates of the linear probe in one pass, against sixteen runs.

python benchmarks/linear_probe.py [--arch vit_base_patch16] [--batch 64] [--rounds 5]
A step of one run is timed against a step with sixteen layers; the ratio is 16 x one / sixteen.
That both give the same weights is a test.
"""

import argparse
from collections.abc import Callable

import torch
from side_by_side import medians, report

from mae_bench.kit.encoder import Encoder
from mae_bench.kit.optim import LARS
from mae_bench.kit.spec import named_spec
from mae_bench.kit.vit import VisionTransformer
from transfer.imagenet_linear import FACTORS
from transfer.linear_probe import LinearProbe

CLASSES = 1000


def step(encoder: Encoder, rates: int, images: torch.Tensor) -> Callable[[], None]:
    """Return one step of a probe with that many learning rates."""
    probe = LinearProbe(encoder, CLASSES, rates).to(images.device)
    groups = [{"params": list(layer.parameters()), "lr": 0.1} for layer in probe.layers]
    optimizer = LARS(groups)
    labels = torch.arange(len(images), device=images.device) % CLASSES
    if images.is_cuda:
        probe.compile(dynamic=False)

    def work() -> None:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=images.is_cuda):
            loss = probe(images, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return work


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="vit_base_patch16")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    spec = named_spec(options.arch, 224, origin="mae")
    encoder = Encoder(spec, VisionTransformer(spec).state_dict(), sha256="")
    images = torch.randint(0, 255, (options.batch, 3, 224, 224), dtype=torch.uint8, device=device)
    works = {"one rate": step(encoder, 1, images), "16 rates": step(encoder, len(FACTORS), images)}
    seconds = medians(works, options.rounds)
    ratio = 16 * seconds["one rate"] / seconds["16 rates"]
    lines = {name: f"{value * 1e3:9.1f} ms a step" for name, value in seconds.items()}
    lines["16 runs / one pass"] = f"{ratio:.2f}x"
    report(f"Linear probe, {options.arch}, batch {options.batch}, {CLASSES} classes", lines)


if __name__ == "__main__":
    main()
