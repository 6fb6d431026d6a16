"""How the jobs of a suite or a store stand: once, as JSON, or until all is over."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import tyro
from rich.console import Console
from rich.live import Live
from rich.text import Text

from mae_bench.cli import FAILED, OK
from mae_bench.commands.options import Place, parse
from mae_bench.core.site import Site
from mae_bench.suite.launch import queue_of, troubles
from mae_bench.suite.launch.queue import QueueEntry, Unanswered
from mae_bench.suite.narrow import Filters, part_of
from mae_bench.suite.overview import LETTERS, SYMBOLS, is_over, overview, told
from mae_bench.suite.plan import Plan
from mae_bench.suite.preflight import survey
from mae_bench.suite.presets import named_suite
from mae_bench.suite.status import Standing, View, planned, standings, stored
from mae_bench.suite.store import Store
from mae_bench.suite.stored import check_store, stored_jobs
from mae_bench.suite.tier import FULL

POLL_S = 2.0
NOT_A_TERMINAL = 200
"""Width of lines that go into a file or a pipe."""
STYLES = {
    "failed": "red",
    "blocked": "magenta",
    "cancelled": "dim",
    "interrupted": "yellow",
    "retrying": "yellow",
    "running": "cyan",
    "done": "green",
}
Flag = tyro.conf.FlagCreatePairsOff


@dataclass(frozen=True)
class StatusOptions:
    """Which jobs to look at, and how often."""

    suite: str = ""
    """A preset (demo, demo-ssl, smoke, full) or a TOML file; without one, all jobs of the store."""
    tier: str = FULL
    """full, or lite: the published short schedules; or a tier of the suite's own."""
    watch: Annotated[bool, Flag] = False
    """Draw it anew every two seconds until all is over; then exit with 1 if not all is done."""
    as_json: Annotated[bool, tyro.conf.arg(name="json"), Flag] = False
    """Print it as JSON instead, once."""
    filters: Filters = field(default_factory=Filters)
    place: Place = field(default_factory=Place)


@dataclass(frozen=True)
class Look:
    """What is looked at: a plan or a whole store."""

    site: Site
    plan: Plan | None
    blocked: dict[str, str]

    @property
    def store(self) -> Store:
        """The store that the jobs are in."""
        return Store(self.site.store)


def status(words: list[str]) -> int:
    """Print how the jobs stand; return the exit code."""
    about = "Say how each job stands: state, progress, attempts, where it runs."
    options = parse(StatusOptions, "status", words, about)
    if options.watch and options.as_json:
        raise ValueError("--watch draws for people and --json is printed once: pass one of them")
    look = look_of(options)
    if options.as_json:
        found, notes = standings_of(look)
        name = look.plan.name if look.plan else None
        content = told(list(found.values()), name, str(look.store.root), notes)
        print(json.dumps(content, indent=2))
        return OK
    console = Console()
    if options.watch:
        return _watch(look, console)
    _, lines = _picture(look, console)
    for line in lines:
        console.print(_styled(line), soft_wrap=True)
    return OK


def look_of(options: StatusOptions) -> Look:
    """Return what is looked at; ValueError for filters without a suite, or names it has not."""
    site = options.place.read()
    if options.suite:
        suite = named_suite(options.suite, site.store, options.tier)
        ground = part_of(survey(suite, site), options.filters)
        return Look(site, ground.plan, ground.blocked)
    if (options.filters, options.tier) != (Filters(), FULL):
        raise ValueError("--only, --task, --seed and --tier choose within a suite: pass --suite")
    check_store(site.store)
    return Look(site, None, {})


def standings_of(look: Look) -> tuple[dict[str, Standing], list[str]]:
    """Return how the jobs stand by key, and what a person should know of how that was read."""
    notes: list[str] = []
    queue: dict[str, QueueEntry] | None = None
    try:
        queue = queue_of(look.site, look.store)
    except Unanswered as silence:
        notes = [f"the scheduler does not answer ({silence}): this is what the files say"]
    view = View(look.store, look.blocked, queue or {})
    if look.plan is not None:
        found = standings(planned(look.plan), view)
    else:
        jobs, strays = stored_jobs(look.store.root)
        notes += [f"left out: {stray}" for stray in strays]
        found = standings(stored(jobs), view)
    left = [key for key, one in found.items() if one.state != "done"]
    if left and queue is not None:
        notes += troubles(look.store, left, queue)
    return found, notes


def _picture(look: Look, console: Console) -> tuple[list[Standing], list[str]]:
    """Return the standings and the lines that show them."""
    found, notes = standings_of(look)
    width = console.width if console.is_terminal else NOT_A_TERMINAL
    unicode = "utf" in (sys.stdout.encoding or "").lower()
    listed = list(found.values())
    return listed, [*overview(listed, look.plan, width, SYMBOLS if unicode else LETTERS), *notes]


def _watch(look: Look, console: Console) -> int:
    """Draw the picture until all is over or a person has seen enough; return the exit code."""
    try:
        if console.is_terminal:
            with Live(console=console, auto_refresh=False) as live:
                found = _until_over(
                    look,
                    console,
                    lambda lines: live.update(Text("\n").join(map(_styled, lines)), refresh=True),
                )
        else:
            found = _until_over(look, console, lambda lines: print("\n".join(lines), flush=True))
    except KeyboardInterrupt:
        return OK
    return OK if all(one.state == "done" for one in found) else FAILED


def _until_over(look: Look, console: Console, draw: Callable[[list[str]], None]) -> list[Standing]:
    """Draw the picture whenever it changed; return the last standings."""
    before: list[str] = []
    while True:
        found, lines = _picture(look, console)
        if lines != before:
            draw(lines)
            before = lines
        if is_over(found):
            return found
        time.sleep(POLL_S)


def _styled(line: str) -> Text:
    """Return a line in the colour of its state."""
    state = {text: name for known in (SYMBOLS, LETTERS) for name, text in known.items()}
    return Text(line, style=STYLES.get(state.get(line[:1], ""), "") if line[1:2] == " " else "")
