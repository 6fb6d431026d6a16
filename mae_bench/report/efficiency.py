"""What each number costs to reach, so that whoever has few hours can choose an encoder."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mae_bench.core.registry import OBJECTIVES, TASKS, load
from mae_bench.kit.work import Cost
from mae_bench.report.leaderboard import GROUP
from mae_bench.report.table import Cell, Table

COLUMN = ["task", "variant", "metric"]
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
    frame: pd.DataFrame, board: pd.DataFrame, published: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return one line for each number of the board, and of `published`, with what it costs.

    Columns: kind ("ours" or "published"), the cell's own; pretraining_gpu_hours (of all that made
    the weights), transfer_gpu_hours and total_gpu_hours, NaN where not known; pretraining_device
    and device, the kinds on which more than a negligible part was spent; hours_from (measured, a
    source, or why they are not known); front (nothing in the column on that kind of
    device is as good for less); relative_cost (the total, divided by that of the cheapest row
    that reaches at least as much) and cheapest (that row).

    `published` has the columns row, arch, origin, epochs, task, variant, metric, mean.
    """
    hours: dict[Any, dict[str, Any]] = {}
    for key, group in frame.groupby(GROUP, sort=False):
        hours[key] = _hours(group)
    records = []
    for line in board.dropna(subset="mean").to_dict("records"):
        records.append({"kind": "ours", **line, **hours[tuple(line[name] for name in GROUP)]})
    if published is not None:
        about = board.drop_duplicates(COLUMN).set_index(COLUMN)
        names = ["title", "unit", "digits", "higher_is_better"]
        params: dict[Any, float] = dict(zip(board["arch"], board["params"], strict=True))
        for line in published.to_dict("records"):
            shown = about.loc[tuple(line[name] for name in COLUMN), names].to_dict()
            shown["params"] = params.get(line["arch"])
            records.append({"kind": "published", **line, **shown, **_published_hours(line)})
    lines = pd.DataFrame.from_records(records, columns=list(COLUMNS))
    lines = lines.astype(dict.fromkeys(NUMBERS, float))
    groups = lines.dropna(subset="total_gpu_hours").groupby([*COLUMN, "device"], sort=False)
    standing: dict[Any, Standing] = {}
    for _, group in groups:
        standing |= _standings(group)
    alone = Standing(False, float("nan"), "")
    for name in ("front", "relative_cost", "cheapest"):
        lines[name] = [getattr(standing.get(place, alone), name) for place in lines.index]
    return lines


def efficiency_table(lines: pd.DataFrame) -> Table:
    """Return the lines as a table, column by column, those on the front bold."""
    shown = []
    for _, group in lines.groupby(COLUMN, sort=False):
        for one in group.to_dict("records"):
            shown.append(tuple(_cells(one)))
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
    return Table(headings, tuple(shown), "llrrrrrlll")


def hours_text(hours: float) -> str:
    """Return GPU-hours with three digits that count, empty if they are not known."""
    if pd.isna(hours):
        return ""
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def _cells(one: Mapping[Hashable, Any]) -> Iterator[Cell]:
    """Yield the cells of one line."""
    heading = " ".join(filter(None, (one["title"], one["variant"])))
    yield Cell(heading)
    yield Cell(str(one["row"]))
    number = f"{one['mean']:.{int(one['digits'])}f} {one['unit']}".strip()
    yield Cell(number, bool(one["front"]))
    for name in ("pretraining_gpu_hours", "transfer_gpu_hours", "total_gpu_hours"):
        yield Cell(hours_text(one[name]))
    known = not pd.isna(one["relative_cost"])
    yield Cell(f"{one['relative_cost']:.3g}" if known else "")
    yield Cell("on the front" if one["front"] else str(one["cheapest"]))
    yield Cell(str(one["device"]))
    yield Cell(str(one["hours_from"]))


def _hours(group: pd.DataFrame) -> dict[str, Any]:
    """Return the mean hours of a cell's jobs and of what made their encoders.

    Where a job is itself the making of the encoder, its hours are the pretraining's.
    """
    made, own = group["encoder_gpu_hours"].mean(skipna=False), group["gpu_hours"].mean()
    is_making = bool((group["encoder_gpu_hours"] == 0.0).all())
    devices = _main_devices(group)
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
        "pretraining_device": str(group["device" if is_making else "encoder_device"].iloc[0]),
        "device": " + ".join(devices),
        "hours_from": reason,
    }


def _main_devices(group: pd.DataFrame) -> list[str]:
    """Return the kinds of device on which more than a negligible part of the hours was spent."""
    pairs = (("device", "gpu_hours"), ("encoder_device", "encoder_gpu_hours"))
    spent = pd.concat([group.groupby(device)[hours].sum() for device, hours in pairs])
    spent = spent[spent.index != ""].groupby(level=0).sum()
    return [str(name) for name in spent[spent > NEGLIGIBLE * spent.sum()].index]


def _published_hours(line: Mapping[Hashable, Any]) -> dict[str, Any]:
    """Return what was published about the hours behind a published number."""
    origin, arch, epochs = str(line["origin"]), str(line["arch"]), line["epochs"]
    made = _published_cost(origin, arch, {"epochs": epochs}) if origin in OBJECTIVES else None
    transfer = _published_cost(str(line["task"]), arch, {})
    costs = [cost for cost in (made, transfer) if cost is not None]
    hours = [cost.hours * cost.gpus if cost else float("nan") for cost in (made, transfer)]
    if epochs == 0:
        hours[0] = 0.0
    one_kind = len({cost.device for cost in costs}) == 1
    return {
        "pretraining_gpu_hours": hours[0],
        "transfer_gpu_hours": hours[1],
        "total_gpu_hours": sum(hours) if one_kind else float("nan"),
        "pretraining_device": made.device if made else "",
        "device": " + ".join(sorted({cost.device for cost in costs})),
        "hours_from": "; ".join(cost.source for cost in costs) or "not published",
    }


def _published_cost(recipe: str, arch: str, fields: Mapping[str, Any]) -> Cost | None:
    """Return what was published about the time of that recipe with those fields; None if nothing.

    Fields that a cost does not name are as in the recipe's published values.
    """
    assert recipe in OBJECTIVES | TASKS
    cls = load(recipe)
    for cost in getattr(cls, "published_costs", ()):
        if cost.arch != arch:
            continue
        usual = cls.published(arch, recipe)
        if all(cost.fields.get(n, getattr(usual, n, None)) == v for n, v in fields.items()):
            return cost  # type: ignore[no-any-return]
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
