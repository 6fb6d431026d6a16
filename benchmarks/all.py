"""Runs every benchmark that suits this machine, one after another: python benchmarks/all.py"""

import subprocess
import sys
from pathlib import Path

import torch

DENSE = ("coco_vitdet", "coco_maskrcnn_fpn", "ade20k_upernet")
ON_CPU = (
    ("pretrain_step.py", "--batch", "4"),
    ("pretrain_step.py", "--batch", "16"),
    ("image_loader.py",),
    ("views.py",),
    ("checkpointing.py",),
    ("linear_probe.py",),
    ("knn.py",),
    ("coco_evaluation.py",),
    ("miou.py",),
    ("cached_run.py",),
    *(("dense_step.py", "--task", task) for task in DENSE),
)
ON_GPU = (
    *(("pretrain_step.py", "--batch", batch, "--rounds", "30") for batch in ("64", "512")),
    ("pretrain_step.py", "--arch", "vit_large_patch16", "--batch", "512"),
    ("pretrain_step.py", "--arch", "vit_huge_patch14", "--batch", "256"),
    ("fed_training.py",),
    ("image_loader.py",),
    ("views.py", "--threads", "8"),
    ("linear_probe.py", "--batch", "512"),
    ("checkpointing.py", "--arch", "vit_large_patch16", "--batch", "64"),
    ("knn.py", "--bank", "200000", "--queries", "10000"),
    ("coco_evaluation.py", "--images", "5000"),
    *(("dense_step.py", "--task", task) for task in DENSE),
    ("miou.py",),
)


def main() -> None:
    """Run them; a script that fails does not keep the others from running."""
    failed = []
    for script, *words in ON_GPU if torch.cuda.is_available() else ON_CPU:
        path = Path(__file__).with_name(script)
        if subprocess.run([sys.executable, path, *words], check=False).returncode:
            failed.append(" ".join([script, *words]))
    if failed:
        sys.exit("failed: " + "; ".join(failed))


if __name__ == "__main__":
    main()
