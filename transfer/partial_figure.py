"""The picture of partial fine-tuning: accuracy over the number of blocks that are trained."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mae_bench.kit.figures import write_plot

PAPER_ARCH = "vit_large_patch16"
PAPER = {"0": 73.5, "0.5": 79.1, "1": 81.0, "all": 84.9}
"""He et al. 2021, 4.3: the points of Fig. 9 that the text names; 0 is its linear probe."""
COLOUR, GREY, SOFT = "#1f6f8b", "#8a8a8a", "#d9d9d9"


def draw_partial(path: Path, arch: str, found: Mapping[str, float]) -> None:
    """Draw the accuracies, by number of blocks, and the paper's where it has that encoder."""
    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places = {blocks: place for place, blocks in enumerate(found)}
    paper = {b: v for b, v in PAPER.items() if b in places and arch == PAPER_ARCH}
    if paper:
        at = [places[blocks] for blocks in paper]
        label = "He et al. 2021, ViT-L"
        hollow = {"markerfacecolor": "white", "markeredgewidth": 1.5}
        axes.plot(at, list(paper.values()), "o", color=GREY, markersize=8, label=label, **hollow)
    values = list(found.values())
    axes.plot(range(len(values)), values, "o-", color=COLOUR, linewidth=2, label="this encoder")
    for place, value in enumerate(values):
        spot = (place, value)
        axes.annotate(
            f"{value:.1f}", spot, (4, -15), textcoords="offset points", color=COLOUR, fontsize=9
        )
    axes.set_xticks(range(len(places)), list(places))
    axes.set_xlabel("last blocks trained (0.5: the MLP of the last one)")
    axes.set_ylabel("ImageNet top-1 (%)")
    axes.set_title(f"Partial fine-tuning of {arch}", loc="left", fontsize=11)
    axes.margins(x=0.07, y=0.12)
    axes.grid(axis="y", color=SOFT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if paper:
        axes.legend(frameon=False, loc="lower right")
    write_plot(path, figure, "top-1 accuracy over the number of last blocks that were trained")
