"""Documents for tests of the page, written by hand: what a reader must find in it is known."""

from typing import Any

COLUMNS = {
    "finetune": ("imagenet_finetune", "fine-tune top-1", "%", True),
    "loss": ("mae", "masked-patch MSE", "", False),
    "box": ("coco_vitdet", "COCO box AP", "%", True),
}
PAPER = "He et al. 2021, arXiv 2111.06377"
SHA = "5f" * 32
FIELDS = ("row", "kind", "arch", "origin", "epochs", "params", "flops", "stamp", "deviations")


def sample() -> dict[str, Any]:
    """Return four rows of ours, one of them deviating and one with a hole, and two of others."""
    cells = [
        own_cell("MAE", "finetune", 84.0, best=True, **twin(83.6, 0.4, "within noise")),
        own_cell("MAE", "loss", 0.41),
        own_cell("MAE", "box", 50.0, **twin(50.3, -0.3, "outside noise")),
        own_cell("Supervised", "finetune", 9.5),
        own_cell("Supervised", "loss", 1.2),
        own_cell("Random", "finetune", None),
        own_cell("Random", "loss", 0.9),
        own_cell("Half batch", "finetune", 70.0),
        cell_of_others("MAE ViT-B (He et al.)", "finetune", 83.6),
        cell_of_others("Our lab", "box", 49.0),
    ]
    rows = [
        row("MAE", origin="mae"),
        row("Supervised", origin="supervised"),
        row("Random", origin="random_init"),
        row("MAE ViT-B (He et al.)", "published", source=PAPER, location="Table 3"),
        row("Our lab", "imported", arch="vit_large_patch16", source="Our lab", note="unpublished"),
        row("Half batch", stamp="deviates", deviations=["mae: batch_size 2048, published 4096"]),
    ]
    jobs = [job(number["key"], one) for one in cells for number in one.get("numbers", [])]
    return document(rows, cells, jobs)


def document(
    rows: list[dict[str, Any]], cells: list[dict[str, Any]], jobs: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return a document of these rows, cells and jobs in the three columns."""
    return {
        "schema": 2,
        "suite": "trial",
        "command": "mae-bench run --suite trial.toml",
        "caution": "Drawn by <hand>.",
        "explanation": "",
        "notes": ["One note."],
        "columns": [column(name) for name in COLUMNS],
        "rows": rows,
        "cells": cells,
        "jobs": jobs,
        "efficiency": [],
        "rank_agreement": [],
        "figures": [],
    }


def column(name: str, **changes: Any) -> dict[str, Any]:
    """Return one of the three columns."""
    task, title, unit, higher = COLUMNS[name]
    about = {"id": name, "task": task, "variant": "", "metric": name, "title": title, "unit": unit}
    return about | {"digits": 1, "higher_is_better": higher, "protocol": ""} | changes


def row(name: str, kind: str = "ours", **changes: Any) -> dict[str, Any]:
    """Return a row: a ViT-B of ours that was run as published, or one of others."""
    about = {
        "row": name,
        "kind": kind,
        "arch": "vit_base_patch16",
        "origin": "mae",
        "epochs": 1600.0,
        "params": 86_567_656.0,
        "flops": 17.6e9,
        "stamp": "paper" if kind == "ours" else "",
        "deviations": [],
        "source": "",
        "location": "",
        "note": "",
    }
    return about | changes


def own_cell(row: str, name: str, mean: float | None, **changes: Any) -> dict[str, Any]:
    """Return our number with its interval over two seeds; without a mean one of them failed."""
    key = f"{row}-{name}".lower().replace(" ", "-")
    done = {"state": "done", "reason": "", "seconds": 90.0}
    failed = {"state": "failed", "reason": "ValueError: loss is nan", "seconds": None}
    whole = mean is not None
    about = column(name)
    del about["id"]
    interval = {"low": mean - 0.5, "high": mean + 0.5, "basis": "seeds"} if mean is not None else {}
    return {
        **about,
        "row": row,
        "column": name,
        "n": 2 if whole else 1,
        "m": 2,
        "mean": mean,
        "sd": 0.1 if whole else None,
        "low": None,
        "high": None,
        "basis": "",
        "best": False,
        "delta_supervised": 1.0 if whole else None,
        "delta_supervised_low": 0.25 if whole else None,
        "delta_supervised_high": 1.75 if whole else None,
        "delta_supervised_p": 0.012 if whole else None,
        "delta_supervised_basis": "seeds",
        "numbers": [
            {"seed": 0, "key": f"{key}-0", "value": mean if whole else 50.0, **done},
            {"seed": 1, "key": f"{key}-1", "value": mean, **(done if whole else failed)},
        ],
        **interval,
        **changes,
    }


def twin(published: float, distance: float, agreement: str) -> dict[str, Any]:
    """Return what a cell says of its published twin."""
    return {
        "published": published,
        "published_by": f"{PAPER}, Table 3",
        "published_note": "",
        "delta_published": distance,
        "agreement": agreement,
    }


def cell_of_others(row: str, name: str, mean: float, **changes: Any) -> dict[str, Any]:
    """Return a published number."""
    place = {"source": PAPER, "location": "Table 3", "note": ""}
    return {"row": row, "column": name, "mean": mean, **place, **changes}


def job(key: str, cell: dict[str, Any]) -> dict[str, Any]:
    """Return the line of the job that made a number of the cell."""
    number = next(one for one in cell["numbers"] if one["key"] == key)
    done = number["state"] == "done"
    provenance = {
        "git": "abc1234",
        "versions": {"torch": "2.11.0"},
        "device": "NVIDIA H200",
        "ranks": 8,
        "facts": {"encoder": {"sha256": SHA, "params": 86_567_656}},
    }
    return {
        "row": cell["row"],
        "recipe": cell["task"],
        "version": 3,
        "seed": number["seed"],
        "key": key,
        "source": "0123456789abcdef",
        "numbers": f"{cell['title']} {number['value']}" if done else "",
        "fidelity": "paper" if done else "",
        "seconds": number["seconds"],
        "device": "NVIDIA H200" if done else "",
        "gpu_hours": 0.2 if done else None,
        "state": number["state"],
        "reason": number["reason"],
        "fields": {"epochs": 100, "layer_decay": 0.65},
        "data_fingerprint": "imagenet-1281167",
        "deviations": [],
        "metrics": {},
        "provenance": provenance if done else {},
    }
