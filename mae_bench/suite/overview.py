"""How all jobs of a store or suite stand, at a glance: lines for a terminal, and JSON."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mae_bench.core.registry import OBJECTIVES
from mae_bench.suite.plan import Plan
from mae_bench.suite.status import AT_WORK, OVER, Standing, StandName
from mae_bench.suite.wording import duration, one_line

SYMBOLS: dict[StandName, str] = {
    "done": "●",
    "running": "▶",
    "retrying": "↻",
    "queued": "◌",
    "waiting": "·",
    "blocked": "⊘",
    "failed": "✗",
    "cancelled": "–",
    "interrupted": "‖",
    "new": "○",
}
"""In the order in which they are counted."""
LETTERS: dict[StandName, str] = {
    "done": "#",
    "running": ">",
    "retrying": "R",
    "queued": "q",
    "waiting": ".",
    "blocked": "B",
    "failed": "X",
    "cancelled": "C",
    "interrupted": "I",
    "new": "o",
}
"""The same where the output can only show ASCII."""
FIRST: tuple[StandName, ...] = ("failed", "running", "retrying", "interrupted", "cancelled")
"""States whose jobs have a line each, those first that need a person."""
TOGETHER: tuple[StandName, ...] = ("queued", "waiting", "blocked", "new")
"""States that a large suite shows once for each reason."""
LARGE = 30
"""Jobs from which on a suite is shown as a grid."""
SCHEMA = 1
NARROWEST, WIDE = 60, 110
LONGEST_NAME = 50
ENCODER = "encoder"


def overview(
    found: Sequence[Standing], plan: Plan | None, width: int, symbols: Mapping[StandName, str]
) -> list[str]:
    """Return how the jobs stand in lines of at most `width` characters.

    A large suite is a grid with a symbol for each seed, and lines for what is not done or went
    wrong; otherwise each job has a line.
    """
    width = max(NARROWEST, width)
    lines = _counts(found, width, symbols)
    if plan is None or len(found) < LARGE:
        lines += _lines(found, width, symbols)
    else:
        lines += ["", *_grid(plan, found, width, symbols), ""]
        first = [one for state in FIRST for one in found if one.state == state]
        first += [one for one in found if one.flaws]
        lines += _lines(first, width, symbols)
        lines += _together(found, symbols)
    return [shortened(line, width) for line in lines]


def is_over(found: Iterable[Standing]) -> bool:
    """Return whether nothing will change unless a person does something."""
    return all(one.state in OVER for one in found)


def told(
    found: Sequence[Standing], name: str | None, store: str, notes: Sequence[str]
) -> dict[str, Any]:
    """Return the same, JSON-ready; docs/following.md describes it."""
    return {
        "schema": SCHEMA,
        "suite": name,
        "store": store,
        "counts": dict(Counter(one.state for one in found)),
        "over": is_over(found),
        "notes": list(notes),
        "jobs": [_record(one) for one in found],
    }


def shortened(line: str, width: int) -> str:
    """Return the line, cut to the width."""
    return line if len(line) <= width else line[: width - 1] + "…"


def _record(one: Standing) -> dict[str, Any]:
    """Return one job of the JSON."""
    far = one.progress
    return {
        "key": one.entry.key,
        "row": one.entry.row,
        "recipe": one.entry.recipe,
        "seed": one.entry.seed,
        "source": one.entry.source,
        "folder": str(one.folder),
        "state": one.state,
        "reason": one.reason,
        "cause": one.cause or None,
        "step": far.step if far else None,
        "steps": far.steps if far else None,
        "evaluated": far.evaluated or None if far else None,
        "left_s": round(far.left_s, 1) if far and far.left_s is not None else None,
        "attempts": one.tried,
        "lost_steps": one.lost_steps,
        "where": dict(one.where) or None,
        "flaws": [dataclasses.asdict(flaw) for flaw in one.flaws],
    }


def _counts(found: Sequence[Standing], width: int, symbols: Mapping[StandName, str]) -> list[str]:
    """Return how many jobs are in each state, which is also the key to the symbols."""
    counts = Counter(one.state for one in found)
    parts = ["1 job:" if len(found) == 1 else f"{len(found)} jobs:"]
    parts += [f"{symbols[state]} {counts[state]} {state}" for state in SYMBOLS if counts[state]]
    idle = counts["interrupted"] + counts["new"]
    if idle and not any(one.state in AT_WORK for one in found):
        parts.append("(nothing is at work: mae-bench run starts what is left)")
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + 2 + len(part) > width:
            lines.append(" " * len(parts[0]))
        lines[-1] += f"  {part}"
    return lines


def _lines(
    found: Sequence[Standing], width: int, symbols: Mapping[StandName, str]
) -> Iterator[str]:
    """Yield a line for each job: what it is, why it stands so, how far it is, where.

    Where there is little room the symbol stands for the state.
    """
    names = [
        f"{e.recipe} · {one_line(e.row)} · seed {e.seed}" for e in (one.entry for one in found)
    ]
    room = min(LONGEST_NAME, max(map(len, names), default=0))
    for one, name in zip(found, names, strict=True):
        state = f"{one.state:11} " if width >= WIDE else ""
        start = f"{symbols[one.state]} {state}{one.entry.key[:8]}  {name:{room}}"
        yield f"{start}  {_about(one)}".rstrip()


def _about(one: Standing) -> str:
    """Return why a job stands so, how far it is, what it took, where it runs, its flaws."""
    far = one.progress
    parts = [f"for {one.reason}" if one.state == "waiting" else one_line(one.reason)]
    if far is not None:
        parts.append(f"{far.step}/{far.steps} ({far.share:.0%})")
        parts += [f"evaluating {one_line(far.evaluated)}"] if far.evaluated else []
        parts += [f"{duration(far.left_s)} left"] if far.left_s is not None else []
    parts += [f"attempt {one.tried}"] if one.tried > 1 and one.state != "done" else []
    parts += [f"{one.lost_steps} steps lost"] if one.lost_steps else []
    parts += [place(one.where), *map(str, one.flaws)]
    return ", ".join(part for part in parts if part)


def place(where: Mapping[str, Any]) -> str:
    """Return where a job runs, or where it is queued."""
    queue = where.get("queue", {})
    if "host" in where:
        by = str(where["started_by"]).replace("/", " ", 1).partition("/")[0]
        return f"on {where['host']}, {by or 'process ' + str(where['pid'])}"
    parts = [f"job {queue['id']}"] if queue else []
    parts += [f"on {queue['where']}"] if queue.get("where") else []
    parts += [f"expected {queue['start']}"] if queue.get("start") else []
    return ", ".join(parts)


def _together(found: Sequence[Standing], symbols: Mapping[StandName, str]) -> list[str]:
    """Return a line for each state and reason that several jobs share."""
    groups: dict[tuple[StandName, str], list[Standing]] = defaultdict(list)
    for one in found:
        if one.state in TOGETHER:
            groups[one.state, one.reason].append(one)
    lines = []
    for state in TOGETHER:
        for (name, reason), members in groups.items():
            if name == state:
                joint = {"waiting": " for ", "blocked": " by "}.get(state, ": ") if reason else ""
                jobs = "1 job" if len(members) == 1 else f"{len(members)} jobs"
                lines.append(f"{symbols[state]} {state:11} {jobs}{joint}{one_line(reason)}")
    return lines


def _grid(
    plan: Plan, found: Sequence[Standing], width: int, symbols: Mapping[StandName, str]
) -> list[str]:
    """Return rows x recipes with a symbol for each seed, in several parts if it is too wide."""
    cells: dict[str, dict[str, str]] = defaultdict(lambda: defaultdict(str))
    own = {(cell.row, job.key): cell.task for cell in plan.cells for job in cell.jobs}
    for one in found:
        entry = one.entry
        shown = [ENCODER if entry.recipe in OBJECTIVES else entry.recipe]
        task = own.get((entry.row, entry.key))
        shown += [task] if task and task not in shown else []
        for column in shown:
            cells[entry.row][column] += symbols[one.state]
    columns = sorted({name for row in cells.values() for name in row}, key=_order(plan))
    label = min(width // 2, max(len(one_line(row)) for row in cells))
    lines: list[str] = []
    for part in _parts(columns, cells, width - label):
        heads = [name.split("_") for name in part]
        widths = [_width(name, cells) for name in part]
        for level in range(max(map(len, heads))):
            words = [head[level] if level < len(head) else "" for head in heads]
            lines.append(_joined("", label, words, widths))
        for row, values in cells.items():
            lines.append(_joined(one_line(row), label, [values[name] for name in part], widths))
        lines.append("")
    return lines[:-1]


def _order(plan: Plan) -> Any:
    """Return the key that sorts columns: the encoder first, then as in the suite."""
    tasks = [column.task for column in plan.suite.columns] if plan.suite else []
    return lambda name: (
        name != ENCODER,
        tasks.index(name) if name in tasks else len(tasks),
        name,
    )


def _width(name: str, cells: Mapping[str, Mapping[str, str]]) -> int:
    """Return the characters that a column needs."""
    return max(*map(len, name.split("_")), *(len(row.get(name, "")) for row in cells.values()), 1)


def _parts(
    columns: Sequence[str], cells: Mapping[str, Mapping[str, str]], room: int
) -> list[list[str]]:
    """Return the columns in parts that fit beside the labels."""
    parts: list[list[str]] = [[]]
    used = 0
    for name in columns:
        wide = _width(name, cells) + 2
        if parts[-1] and used + wide > room:
            parts.append([])
            used = 0
        parts[-1].append(name)
        used += wide
    return parts


def _joined(label: str, room: int, texts: Sequence[str], widths: Sequence[int]) -> str:
    """Return one line of the grid."""
    cells = [f"  {text:{wide}}" for text, wide in zip(texts, widths, strict=True)]
    return f"{shortened(label, room):{room}}{''.join(cells)}".rstrip()
