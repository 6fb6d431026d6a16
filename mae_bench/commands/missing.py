"""The cells of a suite that have no numbers, and the command that fills each."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from mae_bench.cli import FAILED, OK
from mae_bench.commands.options import Place, parse
from mae_bench.commands.status import Look, standings_of
from mae_bench.suite.narrow import Filters, part_of
from mae_bench.suite.plan import Cell
from mae_bench.suite.preflight import survey
from mae_bench.suite.presets import named_suite
from mae_bench.suite.status import Standing
from mae_bench.suite.tier import FULL
from mae_bench.suite.wording import one_line


@dataclass(frozen=True)
class MissingOptions:
    """Which suite's cells to look at."""

    suite: str
    """A preset (demo, demo-ssl, smoke, full) or a TOML file."""
    tier: str = FULL
    """full, or lite: the published short schedules; or a tier of the suite's own."""
    filters: Filters = field(default_factory=Filters)
    place: Place = field(default_factory=Place)


def missing(words: list[str]) -> int:
    """Print each cell without all its results and the command for it; return 1 if there is one."""
    about = "List a suite's cells without results, why, and the command that fills each."
    options = parse(MissingOptions, "missing", words, about)
    site = options.place.read()
    suite = named_suite(options.suite, site.store, options.tier)
    part = part_of(survey(suite, site), options.filters)
    found, notes = standings_of(Look(site, part.plan, part.blocked))
    cells = [cell for cell in part.plan.cells if _without(cell, found)]
    for cell in cells:
        print("\n".join([*_reasons(cell, found), f"    {command(cell, found, options)}"]))
    print("\n".join([*notes, f"{len(cells)} of {len(part.plan.cells)} cells have no number"]))
    return FAILED if cells else OK


def command(cell: Cell, found: dict[str, Standing], options: MissingOptions) -> str:
    """Return the command that fills the cell, the jobs that it needs included."""
    words = ["mae-bench", "run", "--suite", options.suite]
    words += ["--tier", options.tier] if options.tier != FULL else []
    row = [f"--only={cell.row}"] if cell.row.startswith("-") else ["--only", cell.row]
    words += [*row, "--task", cell.task]
    absent = _without(cell, found)
    if len(absent) < len(cell.jobs) or options.filters.seed:
        words += ["--seed", *(str(one.entry.seed) for one in absent)]
    return " ".join(map(quoted, [*words, *options.place.words()]))


def quoted(word: str) -> str:
    """Return the word as bash takes it for one, without anything that would steer a terminal."""
    if word.isprintable():
        return shlex.quote(word)
    escaped = word.encode("unicode_escape").decode().replace("'", "\\'")
    return f"$'{escaped}'"


def _without(cell: Cell, found: dict[str, Standing]) -> list[Standing]:
    """Return how the cell's jobs stand that have no result."""
    return [found[job.key] for job in cell.jobs if found[job.key].state != "done"]


def _reasons(cell: Cell, found: dict[str, Standing]) -> Iterator[str]:
    """Yield a line for each state and reason of the cell's jobs."""
    seeds: dict[str, list[int]] = {}
    for one in _without(cell, found):
        joint = {"waiting": " for ", "blocked": " by "}.get(one.state, ": ") if one.reason else ""
        seeds.setdefault(f"{one.state}{joint}{one_line(one.reason)}", []).append(one.entry.seed)
    for text, those in seeds.items():
        word = "seed" if len(those) == 1 else "seeds"
        yield f"{one_line(cell.row)} · {cell.task} · {word} {', '.join(map(str, those))}: {text}"
