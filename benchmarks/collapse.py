"""SimSiam with and without stop-gradient on the demo data: loss and spread of outputs (Fig. 2).

python benchmarks/collapse.py [--data FOLDER] [--into docs] [--epochs 12]
Chen and He 2020 (arXiv 2011.10566) show in Figure 2 that the std of outputs falls to 0 without
stop-gradient. Behind the last BatchNorm, whose mean is 0, it cannot fall below
2 sqrt(images - 1) / images, so the network without that one is trained too. About ten minutes.
"""

import argparse
import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mae_bench.core.demo_data import DemoData, demo_roots
from mae_bench.core.files import ENCODER
from mae_bench.core.recipe import Context
from mae_bench.kit.encoder import load_exactly, read_encoder
from mae_bench.kit.figures import write_plot
from mae_bench.kit.knn import encoder_knn
from mae_bench.kit.loss_figure import Curve, read_run
from mae_bench.kit.scene_files import make_demo
from mae_bench.kit.spread import collapse
from mae_bench.kit.vit import VisionTransformer
from pretrain.simsiam import SimSiam

RUNS: dict[str, dict[str, Any]] = {
    "stop-gradient": {},
    "no stop-gradient": {"stop_gradient": False},
    "no stop-gradient, no last BatchNorm": {"stop_gradient": False, "head_norm": "hidden"},
}
COLOURS = ("#1f6f8b", "#d55e00", "#7a6bb0")
SHOWS = "SimSiam on the demo data with and without stop-gradient: loss and std of outputs"


@dataclass(frozen=True)
class Run:
    """What came of a training."""

    curves: dict[str, Curve]
    metrics: dict[str, float]
    knn: float
    """Accuracy of its encoder in percent."""


def main() -> None:
    """Train, print the ends and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="demo data; made anew without it")
    parser.add_argument("--into", type=Path, default=Path("docs"))
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = options.data
        if root is None:
            root = Path(folder) / "data"
            make_demo(root, DemoData())
        recipe = dataclasses.replace(
            SimSiam.demo(),
            arch="vit_smoke_patch8",
            image_size=32,
            batch_size=64,
            epochs=options.epochs,
            optimizer="sgd",
            lr_per_256=0.4,
            weight_decay=1e-4,
        )
        found = {}
        for number, (name, changes) in enumerate(RUNS.items()):
            out = Path(folder) / str(number)
            out.mkdir()
            found[name] = trained(dataclasses.replace(recipe, **changes), root, out)
            print(line(name, found[name]), flush=True)
    draw(found, options.into / "collapse.png")


def trained(recipe: SimSiam, root: Path, out: Path) -> Run:
    """Return what comes of training the recipe on the demo data."""
    data = demo_roots(root)["imagenet"]
    metrics = recipe.run(Context(out, 0, data, None))
    lines = read_run(out)
    steps = [one["step"] for one in lines]
    curves = {name: Curve(steps, [one[name] for one in lines]) for name in ("loss", "output_std")}
    encoder = read_encoder(out / ENCODER)
    model = VisionTransformer(encoder.spec)
    load_exactly(model, encoder.state)
    with torch.no_grad():
        return Run(curves, metrics, encoder_knn(model, data))


def line(name: str, run: Run) -> str:
    """Return a line of a table: the ends of a training."""
    std, rank = run.metrics["output_std"], run.metrics["effective_rank"]
    ends = {key: curve.values[-1] for key, curve in run.curves.items()}
    told = "collapsed" if collapse(std, rank) else "no"
    return (
        f"| {name} | {ends['loss']:.3f} | {ends['output_std']:.2f} | {std:.2f} | {rank:.2f} "
        f"| {run.knn:.1f} | {told} |"
    )


def draw(runs: dict[str, Run], path: Path) -> None:
    """Draw loss and std of outputs against steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, squeeze=False)[0]
    for axes, name, title in zip(
        panels, ("loss", "output_std"), ("Loss", "Std of normalised outputs x √d"), strict=True
    ):
        for colour, (label, run) in zip(COLOURS, runs.items(), strict=True):
            curve = run.curves[name]
            axes.plot(curve.steps, curve.values, color=colour, linewidth=1.4, label=label)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("step", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.7)
    panels[1].set_ylim(0, 1.05)
    panels[0].legend(frameon=False, fontsize=8)
    write_plot(path, figure, SHOWS)


if __name__ == "__main__":
    main()
