"""Rows whose trainings went wrong on the way: what of it each row says, and the notes on it."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mae_bench.report.rows import Row, RowFlaw, chain
from mae_bench.suite.flaws import flaws_of
from mae_bench.suite.plan import Plan
from mae_bench.suite.store import Store


def with_flaws(rows: Iterable[Row], plan: Plan, store: Store) -> list[Row]:
    """Return the rows, each with the flaws of its finished jobs and of those of its encoder."""
    found: dict[str, dict[RowFlaw, None]] = defaultdict(dict)
    for cell in plan.cells:
        for job in (one for last in cell.jobs for one in chain(last)):
            result = store.result(job)
            for flaw in () if result is None else flaws_of(result.provenance):
                about = RowFlaw(flaw.kind, job.recipe.name, job.seed, flaw.text)
                found[cell.row][about] = None
    return [dataclasses.replace(row, flaws=tuple(found.get(row.row, ()))) for row in rows]


def notes_on_flaws(rows: Sequence[Row]) -> list[str]:
    """Return a sentence on collapsed rows and one on unstable ones, where there are any."""
    ours = [row for row in rows if row.kind == "ours"]
    sentences = []
    for kind, what in (
        ("collapsed", "collapsed in pretraining, and {its} numbers are of such {encoders}"),
        ("unstable", "trained with steps left out"),
    ):
        hit = [row for row in ours if any(flaw.kind == kind for flaw in row.flaws)]
        if hit:
            one = len(hit) == 1
            words = what.format(
                its="its" if one else "their", encoders="an encoder" if one else "encoders"
            )
            those = "; ".join(f"{row.row} ({_told(row, kind)})" for row in hit)
            sentences.append(
                f"{len(hit)} of {len(ours)} row{'s' * (len(ours) > 1)} {words}: {those}."
            )
    return sentences


def kinds_of(row: Mapping[str, Any]) -> list[str]:
    """Return the kinds of flaw that a row of the document has, each once."""
    return list(dict.fromkeys(flaw["kind"] for flaw in row.get("flaws", ())))


def flaw_texts(row: Mapping[str, Any]) -> list[str]:
    """Return the flaws of a row of the document as sentences."""
    return [
        f"{flaw['kind']}: {flaw['recipe']}, seed {flaw['seed']}: {flaw['text']}"
        for flaw in row.get("flaws", ())
    ]


def _told(row: Row, kind: str) -> str:
    """Return a row's flaws of that kind in words."""
    return "; ".join(
        f"{flaw.recipe}, seed {flaw.seed}: {flaw.text}" for flaw in row.flaws if flaw.kind == kind
    )
