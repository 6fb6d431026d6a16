"""What checkpoints cost at the default interval, against the same training without them.

python benchmarks/checkpointing.py [--arch vit_base_patch16] [--batch 4]
The share follows from one save and the interval that the loop keeps after it; both are measured.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from side_by_side import medians, report

from mae_bench.kit.keeper import Keeper
from mae_bench.kit.optim import decay_groups
from pretrain.mae import MAE
from pretrain.mae_model import MAEObjective


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="vit_base_patch16")
    parser.add_argument("--batch", type=int, default=4)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = MAEObjective(MAE(arch=options.arch)).to(device)
    optimizer = torch.optim.AdamW(decay_groups(model, 0.05), lr=1e-4, fused=True)
    images = torch.randint(0, 255, (options.batch, 3, 224, 224), dtype=torch.uint8, device=device)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
            loss = model(images)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    with tempfile.TemporaryDirectory() as folder:
        keeper = Keeper(Path(folder), 1_000_000, model, optimizer)
        done = 0

        def save() -> None:
            nonlocal done
            done += 1
            keeper.save(done)

        seconds = medians({"step": step, "save": save}, rounds=5)
        size = max(path.stat().st_size for path in Path(folder).rglob("*.pt"))
        start = time.monotonic()
        keeper.save(done + 1)
        last = time.monotonic() - start
    share = last / (keeper.pace.save_every + last)
    report(
        f"Checkpoints, {options.arch}",
        {
            "step": f"{seconds['step']:.2f} s",
            "save": f"{seconds['save']:.2f} s, {size / 2**20:.0f} MiB",
            "interval": f"{keeper.pace.save_every:.0f} s after a save of {last:.2f} s",
            "overhead": f"{100 * share:.2f} % of the time",
        },
    )


if __name__ == "__main__":
    main()
