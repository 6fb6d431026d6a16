"""Says how two rows of a suite, or two jobs, differ, and what would settle it."""

import json
import math
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from mae_bench.cli import OK
from mae_bench.commands.options import Place, parse
from mae_bench.core.recipe import unknown
from mae_bench.core.site import Site
from mae_bench.suite.finding import SHORTEST
from mae_bench.suite.narrow import Filters, narrowed
from mae_bench.suite.preflight import survey
from mae_bench.suite.presets import named_suite
from mae_bench.suite.store import Store
from mae_bench.suite.stored import check_store
from mae_bench.suite.tier import FULL
from mae_bench.suite.wording import one_line

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1


@dataclass(frozen=True)
class CompareOptions:
    """What to compare."""

    rows: tyro.conf.Positional[tuple[str, str]]
    """Labels of two rows, or without --suite the keys of two jobs of the store."""
    suite: str = ""
    """A preset (demo, demo-ssl, smoke, full) or a TOML file; without one, all in the store."""
    tier: str = FULL
    """full, or lite: the published short schedules; or a tier of the suite's own."""
    task: tuple[str, ...] = ()
    """Only these tasks."""
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print it as JSON instead."""
    place: Place = field(default_factory=Place)


def compare(words: list[str]) -> int:
    """Print each column's difference of two rows, how sure it is, and how many seeds settle it."""
    about = "Say how two rows differ, how sure that is, and how many seeds would settle it."
    options = parse(CompareOptions, "compare", words, about)
    site = options.place.read()
    if options.rows[0] == options.rows[1]:
        raise ValueError(f"compare needs two different rows or jobs, got {options.rows[0]!r} twice")
    check_store(site.store)
    from mae_bench.report.compare import compare as differences
    from mae_bench.report.per_image import replicates

    frame = whole = _frame(options, site)
    for name in options.rows:
        frame = _with_row(name, frame)
    found = differences(frame, *options.rows, partial(replicates, site.store))
    if found.empty:
        one, other = map(one_line, options.rows)
        raise ValueError(
            f"{one} and {other} have no column in common; `mae-bench status` lists jobs"
        )
    if options.as_json:
        print(json.dumps(_told(found, options.rows), indent=2, allow_nan=False))
    else:
        print("\n".join(_lines(found, options.rows)))
        print("".join(f"{line}\n" for line in _beside(frame, whole, options.rows)), end="")
    return OK


def _frame(options: CompareOptions, site: Site) -> "pd.DataFrame":
    """Return the long table of the suite or of the whole store, of the chosen tasks."""
    from mae_bench.report.frame import long_frame
    from mae_bench.report.results import load_results

    if options.suite:
        planned = survey(named_suite(options.suite, site.store, options.tier), site).plan
        return long_frame(narrowed(planned, Filters(task=options.task)), Store(site.store))
    frame = load_results(site.store)
    for task in options.task:
        if task not in set(frame["task"]):
            raise ValueError(unknown("task", task, frame["task"].unique()))
    return frame[frame["task"].isin(options.task)] if options.task else frame


def _with_row(name: str, frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return the table with a row of that name: a job's, whatever its settings, if it is a key.

    Raises ValueError with the nearest name if it is neither a row nor the beginning of one key.
    """
    import pandas as pd

    if name in set(frame["row"]):
        return frame
    keys = {key for key in frame["key"] if len(name) >= SHORTEST and key.startswith(name)}
    if len(keys) != 1:
        raise ValueError(unknown("row or job", name, frame["row"].unique()))
    return pd.concat([frame, frame[frame["key"].isin(keys)].assign(row=name, variant="")])


def _lines(found: "pd.DataFrame", rows: tuple[str, str]) -> Iterator[str]:
    """Yield what is compared, and a line for each column."""
    from mae_bench.report.notes import difference_text, headed, tally

    one, other = map(one_line, rows)
    tests = "1 test" if (tested := found["p"].notna().sum()) == 1 else f"{tested} tests"
    yield f"{one} less {other}: 95 % intervals, p corrected for {tests} (Holm)"
    ends = {f"difference_{end}": found[end] for end in ("low", "high")}
    for line in headed(found.assign(**ends)).to_dict("records"):
        if math.isnan(line["difference"]):
            yield f"{line['heading']}: seeds are missing, so nothing is compared"
            continue
        verdict = tally(line["difference"], line["p"], line["higher_is_better"])
        by = f" by {line['basis']}, p {line['p']:.2g}" if line["basis"] else ""
        yield f"{difference_text(line, 'difference')}{by}: {verdict}; {_needed(line)}"


def _beside(frame: "pd.DataFrame", whole: "pd.DataFrame", rows: tuple[str, str]) -> Iterator[str]:
    """Yield what is to be known beside the differences: other columns, other settings."""
    yield from _alone(frame, rows)
    yield from _unlike(whole, rows)


def _alone(frame: "pd.DataFrame", rows: tuple[str, str]) -> Iterator[str]:
    """Yield for each row the columns that the other has not, if there are any."""
    column = ["task", "variant", "metric"]
    sides = [
        frame[(frame["row"] == row) & frame["value"].notna()].drop_duplicates(column)
        for row in rows
    ]
    for row, mine, other in zip(rows, sides, reversed(sides), strict=True):
        theirs = set(other[column].itertuples(index=False, name=None))
        alone = [tuple(line[name] for name in column) not in theirs for _, line in mine.iterrows()]
        if any(alone):
            places = mine[alone]["title"] + " of " + mine[alone]["task"]
            yield f"only {one_line(row)} has {', '.join(places)}"


def _unlike(frame: "pd.DataFrame", rows: tuple[str, str]) -> Iterator[str]:
    """Yield that two jobs, named by their keys, had other settings, so that more differs."""
    settings = []
    for name in rows:
        lines = frame[frame["key"].str.startswith(name) & (frame["row"] != name)]
        settings.append(", ".join(lines["variant"].unique()))
    if settings[0] != settings[1]:
        one, other = (one_line(text) or "the usual" for text in settings)
        yield f"Their settings differ, so these are not numbers of one protocol: {one}; {other}"


def _needed(line: Mapping[Hashable, Any]) -> str:
    """Return how many seeds would settle a difference, or why that is not known."""
    if line["difference"] == 0.0:
        return "no number of seeds settles a difference of 0"
    if math.isnan(line["seeds_needed"]):
        return "seeds needed unknown: their spread was neither measured nor published"
    whose = {"seeds": "measured", "floor": "published"}[line["sd_of"]]
    return f"{line['seeds_needed']:.0f} seeds a side find it ({whose} sd {line['sd']:.2g})"


def _told(found: "pd.DataFrame", rows: tuple[str, str]) -> dict[str, Any]:
    """Return the comparison, JSON-ready."""
    from mae_bench.report.document import records

    return {"schema": SCHEMA, "rows": list(rows), "columns": records(found)}
