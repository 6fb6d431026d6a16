"""Where the rows of one column were measured by different values of its protocol."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from mae_bench.core.recipe import Recipe
from mae_bench.core.registry import load
from mae_bench.report.frame import variant
from mae_bench.suite.plan import Cell, Plan


def protocols(plan: Plan) -> list[str]:
    """Return a sentence for each column whose rows differ in a field that its task has `stated`.

    Papers measure their own encoders by their own protocol: the numbers stand in one column, as in
    the papers, and this says what else than the encoder tells them apart.
    """
    columns: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in plan.cells:
        first = cell.jobs[0]
        if first.recipe.name == cell.task:  # and not the metric of a row's own pretraining
            columns[cell.task, variant(cell.task, first)].append(cell)
    return [text for (task, _), cells in columns.items() for text in _sentence(load(task), cells)]


def _sentence(cls: type[Recipe], cells: Sequence[Cell]) -> Iterator[str]:
    """Yield which rows have which values, if they are not all the same."""
    fields: tuple[str, ...] = getattr(cls, "stated", ())
    rows: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for cell in cells:
        rows[tuple(str(getattr(cell.jobs[0].recipe, name)) for name in fields)].append(cell.row)
    if len(rows) < 2:
        return
    parts = [
        f"{', '.join(f'{n} {v}' for n, v in zip(fields, values, strict=True))} for {', '.join(its)}"
        for values, its in rows.items()
    ]
    titles = ", ".join(metric.title for metric in cls.metrics)
    yield (
        f"{titles}: not all rows were measured alike: {'; '.join(parts)}. A difference between "
        "such rows is of the measurement, too."
    )
