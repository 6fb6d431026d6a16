"""Jobs, results and times put into words for people."""

from collections.abc import Sequence
from typing import Any

from mae_bench.core.job import Job, Result
from mae_bench.core.recipe import Metric
from mae_bench.suite.flaws import flaws_of


def job_name(job: Job) -> str:
    """Return row, recipe and seed, for people; a label cannot break the line."""
    return f"{one_line(job.row)} · {job.recipe.name} · seed {job.seed}"


def result_text(job: Job, result: Result) -> str:
    """Return the metrics with units, the time, and what went wrong on the way."""
    parts = [f"{title} {value}" for title, value in metric_texts(job.recipe.metrics, result)]
    flaws = map(str, flaws_of(result.provenance))
    return "; ".join([", ".join([*parts, f"in {duration(result.seconds)}"]), *flaws])


def metric_texts(metrics: Sequence[Metric], result: Result) -> list[tuple[str, str]]:
    """Return the title of each metric that the result has, and its value with the unit."""
    return [
        (metric.title, f"{result.metrics[metric.name]:.{metric.digits}f}{metric.unit}")
        for metric in metrics
        if metric.name in result.metrics
    ]


def fidelity_lines(result: Result) -> list[str]:
    """Return how far the result is from what is published, and each deviation in a line."""
    if isinstance(result.fidelity, str):
        return [result.fidelity]
    if not result.fidelity:
        return ["not noted"]
    return [f"{len(result.fidelity)} deviations from what is published", *result.fidelity]


def values_text(result: Result) -> str:
    """Return whose published values the result's recipe has."""
    values = result.provenance.get("values")
    return f"published for {values}" if values else "own"


def duration(seconds: float) -> str:
    """Return seconds as 45 s, 3 min 05 s or 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def training_text(line: dict[str, Any]) -> str:
    """Return what a line of metrics.jsonl says of a training: epoch, loss, rates, shares."""
    texts = {
        "epoch": "epoch {:.2f}",
        "loss": "loss {:.4f}",
        "output_std": "output std {:.3f}",
        "lr": "lr {:.2e}",
        "images_per_s": "{:.0f} img/s",
        "mfu": "MFU {:.1%}",
        "data_wait": "{:.0%} waiting for data",
        "knn_top1": "k-NN {:.1f} %",
        "skipped": "{} steps left out",
    }
    return ", ".join(text.format(line[name]) for name, text in texts.items() if name in line)


def one_line(text: str) -> str:
    """Return text from outside on one line, without what would steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
