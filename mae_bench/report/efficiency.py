"""What each number costs to reach, so that whoever has few hours can choose an encoder."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pandas as pd

from mae_bench.core.registry import OBJECTIVES, load
from mae_bench.kit.work import Cost
from mae_bench.report.leaderboard import GROUP
from mae_bench.report.rows import OF_COLUMN
from mae_bench.report.table import Cell, Table, three

COLUMNS = (
    "kind",
    "row",
    "arch",
    "origin",
    "params",
    "task",
    "variant",
    "metric",
    "title",
    "unit",
    "digits",
    "higher_is_better",
    "mean",
    "low",
    "high",
    "pretraining_gpu_hours",
    "transfer_gpu_hours",
    "total_gpu_hours",
    "pretraining_device",
    "device",
    "hours_from",
    "front",
    "relative_cost",
    "cheapest",
)
NUMBERS = (
    "params",
    "mean",
    "low",
    "high",
    "pretraining_gpu_hours",
    "transfer_gpu_hours",
    "total_gpu_hours",
    "relative_cost",
)
NEGLIGIBLE = 0.01
"""Share of all hours up to which those on another kind of device count as on the main one."""
EXPLANATION = (
    "GPU-hours are wall time multiplied by ranks, the mean over seeds. Each number bears the whole "
    "cost of its encoder, although that is paid once for all tasks. Times as dear: its total "
    "beside that of the cheapest encoder which reaches at least as much in the column; where that "
    "is itself, it is on the front. Only hours on one kind of device are summed and compared."
)


@dataclass(frozen=True)
class Standing:
    """How a number stands among those of its column on the same kind of device."""

    front: bool
    relative_cost: float
    cheapest: str


def efficiency(
    frame: pd.DataFrame, board: pd.DataFrame, others: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return one line for each number of the board, and of others, with what it cost.

    Columns: kind, row and the column's own; pretraining_gpu_hours (of all that made the weights),
    transfer_gpu_hours and total_gpu_hours, NaN where not known; pretraining_device and device, the
    kinds on which more than a negligible part was spent; hours_from (measured, a source, or why
    they are not known); front (nothing in the column on that kind of device is as good for less);
    relative_cost (the total, divided by that of the cheapest row that reaches at least as much) and
    cheapest (that row).

    `others` has the columns kind, row, arch, origin, epochs, task, variant, metric,
    mean and source.
    """
    records = [*_ours(frame, board), *([] if others is None else _of_others(others, board))]
    lines = pd.DataFrame.from_records(records, columns=list(COLUMNS))
    lines = lines.astype(dict.fromkeys(NUMBERS, float))
    known = lines.dropna(subset="total_gpu_hours")
    standing: dict[Any, Standing] = {}
    for _, group in known.groupby([*OF_COLUMN, "device"], sort=False):
        standing |= _standings(group)
    alone = Standing(False, float("nan"), "")
    for name in ("front", "relative_cost", "cheapest"):
        lines[name] = [getattr(standing.get(place, alone), name) for place in lines.index]
    return lines


def efficiency_table(lines: pd.DataFrame) -> Table | None:
    """Return the lines of `efficiency` as a table, those on the front marked.

    Lines without a total are left out; None if that is all of them.
    """
    known = lines.dropna(subset="total_gpu_hours")
    headings = (
        "Column",
        "Encoder",
        "Number",
        "Pretraining (GPU-hours)",
        "Transfer (GPU-hours)",
        "Total (GPU-hours)",
        "Times as dear",
        "Cheapest as good",
        "Device",
        "Hours",
    )
    shown = tuple(tuple(_cells(one)) for one in known.to_dict("records"))
    return Table(headings, shown, "llrrrrrlll") if shown else None


def _cells(one: Mapping[Hashable, Any]) -> Iterator[Cell]:
    """Yield the cells of one line."""
    yield Cell(", ".join(filter(None, (one["title"], one["variant"]))))
    yield Cell(str(one["row"]))
    number = f"{one['mean']:.{int(one['digits'])}f} {one['unit']}".strip()
    yield Cell(number, best=bool(one["front"]))
    for name in ("pretraining_gpu_hours", "transfer_gpu_hours", "total_gpu_hours"):
        yield Cell(three(one[name]))
    yield Cell(three(one["relative_cost"]))
    yield Cell("on the front" if one["front"] else str(one["cheapest"]))
    yield Cell(str(one["device"]))
    yield Cell(str(one["hours_from"]))


def _ours(frame: pd.DataFrame, board: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield our numbers with their hours."""
    jobs: dict[Any, list[Mapping[Hashable, Any]]] = defaultdict(list)
    for one in frame.to_dict("records"):
        jobs[tuple(one[name] for name in GROUP)].append(one)
    for line in board.dropna(subset="mean").to_dict("records"):
        cost = _hours(jobs[tuple(line[name] for name in GROUP)])
        yield {"kind": "ours", **{str(name): value for name, value in line.items()}, **cost}


def _of_others(others: pd.DataFrame, board: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the numbers of others with what was published about their hours."""
    names = ["title", "unit", "digits", "higher_is_better"]
    columns = {
        tuple(line[name] for name in OF_COLUMN): {name: line[name] for name in names}
        for line in board.to_dict("records")
    }
    params = dict(zip(board["arch"], board["params"], strict=True))
    for line in others.to_dict("records"):
        column = columns[tuple(line[name] for name in OF_COLUMN)]
        size = {"params": params.get(line["arch"])}
        own = {str(name): value for name, value in line.items()}
        yield {**own, **column, **size, **_published_hours(line)}


def _hours(jobs: Sequence[Mapping[Hashable, Any]]) -> dict[str, Any]:
    """Return the mean hours of a cell's jobs and of what made their encoders.

    Where a job is itself the making of the encoder, its hours are the pretraining's.
    """
    made = fmean(job["encoder_gpu_hours"] for job in jobs)
    own = fmean(job["gpu_hours"] for job in jobs)
    is_making = all(job["encoder_gpu_hours"] == 0.0 for job in jobs)
    devices = _main_devices(jobs)
    one_kind = len(devices) == 1
    reason = "measured"
    if pd.isna(made):
        reason = "not known: the encoder was made elsewhere"
    elif not devices:
        reason = "measured, but not on what device"
    elif not one_kind:
        reason = "measured; not summed, since on different devices"
    return {
        "pretraining_gpu_hours": own if is_making else made,
        "transfer_gpu_hours": 0.0 if is_making else own,
        "total_gpu_hours": made + own if one_kind else float("nan"),
        "pretraining_device": str(jobs[0]["device" if is_making else "encoder_device"]),
        "device": " + ".join(devices),
        "hours_from": reason,
    }


def _main_devices(jobs: Sequence[Mapping[Hashable, Any]]) -> list[str]:
    """Return the kinds of device on which more than a negligible part of the hours was spent.

    None if such a part was spent on a device that was not noted.
    """
    spent: dict[str, float] = defaultdict(float)
    for job in jobs:
        spent[job["device"]] += job["gpu_hours"]
        if job["encoder_gpu_hours"] > 0:
            spent[job["encoder_device"]] += job["encoder_gpu_hours"]
    least = NEGLIGIBLE * sum(spent.values())
    found = sorted(name for name, hours in spent.items() if hours > least)
    return [] if "" in found else found


def _published_hours(line: Mapping[Hashable, Any]) -> dict[str, Any]:
    """Return what was published about the hours behind a published number."""
    epochs, made = line["epochs"], None
    if line["origin"] in OBJECTIVES and epochs:
        made = _published_cost(str(line["origin"]), line, {"epochs": epochs})
    transfer = _published_cost(str(line["task"]), line, {})
    costs = [cost for cost in (made, transfer) if cost is not None]
    hours = [cost.hours * cost.gpus if cost else float("nan") for cost in (made, transfer)]
    if epochs == 0:
        hours[0] = 0.0
    devices = sorted({cost.device for cost in costs})
    return {
        "pretraining_gpu_hours": hours[0],
        "transfer_gpu_hours": hours[1],
        "total_gpu_hours": sum(hours) if len(devices) == 1 else float("nan"),
        "pretraining_device": made.device if made else "",
        "device": " + ".join(devices),
        "hours_from": "; ".join(cost.source for cost in costs) or "not published",
    }


def _published_cost(
    recipe: str, line: Mapping[Hashable, Any], fields: Mapping[str, Any]
) -> Cost | None:
    """Return what was published about the time of that recipe with those fields; None if nothing.

    Fields that a cost does not name are as in the recipe's published values.
    """
    cls = load(recipe)
    costs: Sequence[Cost] = getattr(cls, "published_costs", ())
    for cost in costs:
        if cost.arch != line["arch"] or cost.origin != line["origin"]:
            continue
        usual = cls.published(cost.arch, cost.origin)
        same = all(cost.fields.get(n, getattr(usual, n, None)) == v for n, v in fields.items())
        if same and line["source"] in cost.of:
            return cost
    return None


def _standings(group: pd.DataFrame) -> dict[Any, Standing]:
    """Return for each line of one column and kind of device how it stands among the others."""
    ordered = sorted(group.to_dict("index").items(), key=lambda pair: _worth(pair[1]))
    cheapest = ordered[0][1]
    found = {}
    for place, one in ordered:
        if one["total_gpu_hours"] < cheapest["total_gpu_hours"]:
            cheapest = one
        total = cheapest["total_gpu_hours"]
        relative = one["total_gpu_hours"] / total if total > 0 else float("nan")
        found[place] = Standing(_worth(one) == _worth(cheapest), relative, cheapest["row"])
    return found


def _worth(one: Mapping[Hashable, Any]) -> tuple[float, float]:
    """Return what sorts lines of one column: the better number first, then the cheaper."""
    return (-one["mean"] if one["higher_is_better"] else one["mean"]), one["total_gpu_hours"]
