"""One optimiser step of MAE pretraining: this project's against a plain one, same size and batch.

python benchmarks/pretrain_step.py [--arch vit_base_patch16] [--batch 16] [--rounds 10]
On a GPU the plain step runs in fp16 with a gradient scaler and reads its loss after every step;
ours runs as `mae-bench pretrain` does. Both are also given as a share of the speed of a large
matrix product.
"""

import argparse
from collections.abc import Callable

import torch
from plain_mae import PlainMAE
from side_by_side import medians, report

from mae_bench.kit.archs import ARCHS
from mae_bench.kit.guard import Guard
from mae_bench.kit.optim import decay_groups
from pretrain.mae import MAE
from pretrain.mae_model import MAEObjective

SIDE = 224


def ours(arch: str, images: torch.Tensor, compiled: bool) -> Callable[[], None]:
    """Return one step as the training loop takes it."""
    device = images.device
    model = MAEObjective(MAE(arch=arch)).to(device)
    optimizer = torch.optim.AdamW(decay_groups(model, 0.05), lr=1e-4, betas=(0.9, 0.95), fused=True)
    guard = Guard(optimizer, device, limit=3)
    if compiled:
        model.compile(dynamic=False)
    step = 0

    def work() -> None:
        nonlocal step
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = model(images, model.noise(len(images)))
        loss.backward()
        guard.step(loss.detach())
        optimizer.zero_grad(set_to_none=True)
        step += 1
        guard.watch(step, loss.detach())

    return work


def plain(arch: str, images: torch.Tensor) -> Callable[[], None]:
    """Return one step of the plain autoencoder."""
    device = images.device
    size = ARCHS[arch]
    model = PlainMAE(size.width, size.depth, size.heads, size.patch_size, SIDE).to(device)
    optimizer = torch.optim.AdamW(decay_groups(model, 0.05), lr=1e-4, betas=(0.9, 0.95))
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
    mean = torch.tensor([0.485, 0.456, 0.406], device=device).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], device=device).view(3, 1, 1)
    pixels = (images.float() / 255 - mean) / std

    def work() -> None:
        with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
            loss = model(pixels)
        loss.item()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return work


def matrix_flops(device: torch.device) -> float:
    """Return FLOP/s of a large bf16 matrix product (fp32 on a CPU)."""
    size, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (2048, torch.float32)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = medians({"product": lambda: (a @ b, None)[1]}, rounds=20)["product"]
    return 2 * size**3 / seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="vit_base_patch16")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--compile", action="store_true", help="also time ours compiled on a CPU")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(0)
    images = torch.randint(0, 255, (options.batch, 3, SIDE, SIDE), dtype=torch.uint8, device=device)
    works = {
        "plain": plain(options.arch, images),
        "ours": ours(options.arch, images, compiled=device.type == "cuda"),
    }
    if options.compile and device.type == "cpu":
        works["ours, compiled"] = ours(options.arch, images, compiled=True)
    seconds = medians(works, options.rounds)
    with torch.device("meta"):
        flops = options.batch * MAEObjective(MAE(arch=options.arch)).training_flops
    peak = matrix_flops(device)
    lines = {}
    for name, value in seconds.items():
        share = flops / value / peak
        rate = options.batch / value
        lines[name] = (
            f"{value * 1e3:9.1f} ms, {rate:8.1f} img/s, {seconds['plain'] / value:.2f}x plain, "
            f"{100 * share:.1f} % of the matrix product's {peak / 1e12:.2f} TFLOP/s"
        )
    report(f"MAE training step, {options.arch}, batch {options.batch}, {SIDE} pixels", lines)


if __name__ == "__main__":
    main()
