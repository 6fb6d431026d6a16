"""What a run of a suite would do and cost, before anything runs."""

import json
import math
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

from mae_bench.cli import OK
from mae_bench.commands.options import Place, parse
from mae_bench.suite.cost.bill import Bill, Line, Wishes, bill
from mae_bench.suite.cost.disk import size
from mae_bench.suite.launch import On, queue_of
from mae_bench.suite.launch.queue import QueueEntry, Unanswered
from mae_bench.suite.narrow import Filters, part_of
from mae_bench.suite.preflight import Ground, survey
from mae_bench.suite.presets import named_suite

WIDE = 140
"""Columns from which on whole keys and the sources of all hours are shown."""
SHORT_KEY = 8
HEADINGS = ("job", "encoder", "recipe", "seed", "state", "GPUs", "time", "from")
ALIGN = "lllrlrrl"
CUT, LEAST = (7, 1, 2), 10
"""Columns whose texts may be cut, first to last, and to how many characters at least."""
NEEDS, BLOCKED_TOO = "their encoder's job is blocked too", ", which is blocked"
LEGEND = 12
"""Most sources of hours that are listed below the table."""


@dataclass(frozen=True)
class Price:
    """What energy and money are counted with."""

    price_per_gpu_hour: float = 0.0
    """What an hour of one GPU costs; 0: money is not shown."""
    currency: str = "EUR"
    """What that is in."""
    energy: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also show the energy of the GPUs, by the power measured in results or by their data sheet."""


@dataclass(frozen=True)
class PlanOptions:
    """Which suite, and what its hours shall be for."""

    suite: str
    """A preset (demo, demo-ssl, smoke, full) or a TOML file."""
    tier: str = "full"
    """full, or lite: the published short schedules; or a tier of the suite's own."""
    filters: Filters = field(default_factory=Filters)
    on: On = "local"
    """Where the jobs would run: slurm gives each the nodes and GPUs that site.toml says."""
    gpus: int = 0
    """GPUs that the suite's jobs share; 0: those of this machine, or of the widest job."""
    gpu_kind: str = ""
    """A kind of GPU, such as H200, that hours are given for; default: this machine's."""
    calibrate: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """First time a few steps of each kind of job here; its evaluation is not seen."""
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print everything as JSON instead."""
    price: Price = field(default_factory=Price)
    place: Place = field(default_factory=Place)


def plan(words: list[str]) -> int:
    """Print what a run would do and cost; return the exit code."""
    about = "Say what a run of a suite would do: jobs, states, hours, wall time, disk, money."
    options = parse(PlanOptions, "plan", words, about)
    if options.gpus < 0:
        raise ValueError(f"--gpus must be >= 0, got {options.gpus}")
    if not 0 <= options.price.price_per_gpu_hour < math.inf:
        raise ValueError(
            f"--price-per-gpu-hour must be >= 0, got {options.price.price_per_gpu_hour}"
        )
    site = options.place.read()
    whole = survey(named_suite(options.suite, site.store, options.tier), site)
    ground = part_of(whole, options.filters)
    if options.calibrate:
        from mae_bench.commands.run import prepared
        from mae_bench.suite.cost.calibration import calibrate

        code = prepared(ground)
        if code != OK:
            return code
        calibrate(ground, lambda line: print(line, file=sys.stderr, flush=True))
    wishes = Wishes(options.gpus, options.gpu_kind, options.on)
    found = bill(ground, wishes, asked_queue(ground))
    if options.as_json:
        print(json.dumps(told(found, options.price), indent=2, allow_nan=False))
    else:
        print_bill(ground.plan.name, found, options.price)
    return OK


def asked_queue(ground: Ground) -> dict[str, QueueEntry]:
    """Return the suite's jobs in a scheduler's queue, none after a warning if it does not say."""
    try:
        return queue_of(ground.site, ground.store)
    except Unanswered as error:
        print(f"mae-bench: what is queued is not known: {error}", file=sys.stderr)
        return {}


def print_bill(name: str, found: Bill, price: Price) -> None:
    """Print every job in a line and the sums, as wide as the terminal is."""
    width = shutil.get_terminal_size((100, 24)).columns
    print("\n".join([*table(found, width), "", *notes(found), *sums(name, found, price)]))


def table(found: Bill, width: int) -> Iterator[str]:
    """Yield the jobs, a line each, under headings."""
    wide = width >= WIDE
    rows = [HEADINGS, *(_cells(line, wide) for line in found.lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    for column in CUT:
        over = sum(widths) + 2 * (len(widths) - 1) - width
        if over > 0:
            widths[column] = max(LEAST, widths[column] - over)
    for row in rows:
        cut = [_cut(text, places) for text, places in zip(row, widths, strict=True)]
        sides = zip(cut, widths, ALIGN, strict=True)
        line = "  ".join(t.rjust(w) if side == "r" else t.ljust(w) for t, w, side in sides)
        yield line.rstrip()


def notes(found: Bill) -> Iterator[str]:
    """Yield why jobs are blocked or failed, and where hours come from, each once."""
    reasons = Counter(
        (line.state, NEEDS if line.reason.endswith(BLOCKED_TOO) else line.reason)
        for line in found.lines
        if line.reason
    )
    for (state, reason), count in reasons.items():
        yield f"{state} ({_jobs(count)}): {reason}"
    sources = Counter(
        (line.estimate.how, line.estimate.source) for line in found.lines if line.state != "cached"
    )
    for (how, source), count in sources.most_common(LEGEND):
        yield f"{how} ({_jobs(count)}): {source}"
    if len(sources) > LEGEND:
        yield f"and {len(sources) - LEGEND} more sources of hours, see --json"


def sums(name: str, found: Bill, price: Price) -> Iterator[str]:
    """Yield the totals."""
    states = Counter(line.state for line in found.lines)
    yield f"{name}: {_jobs(len(found.lines))}: " + ", ".join(
        f"{count} {state}" for state, count in states.items()
    )
    hours, more = found.gpu_hours, found.blocked_gpu_hours
    blocked = f"; {hours_text(more)} more are blocked" if more else ""
    device = f"{found.device.name} ({found.device.why})"
    yield f"  time    {hours_text(hours)} of one {device}{blocked}"
    whole = f"; {hours_text(found.whole_wall_hours)} if none were blocked" if more else ""
    yield f"  wall    {hours_text(found.wall_hours)} on {found.devices} of them{whole}"
    room = found.room
    short = ": TOO LITTLE" if room.short else ""
    whole = f" ({size(found.whole_room.needed)} if none were blocked)" if more else ""
    yield f"  disk    {size(room.needed)} needed{whole}, {size(room.free)} free{short}"
    if price.energy:
        whole = f"; {found.whole_kwh:,.1f} kWh if none were blocked" if more else ""
        yield f"  energy  {_energy(found)}{whole}"
    if price.price_per_gpu_hour:
        money, all_money = (each * price.price_per_gpu_hour for each in (hours, hours + more))
        whole = f"; {all_money:,.2f} {price.currency} if none were blocked" if more else ""
        yield f"  money   {money:,.2f} {price.currency}{whole}"


def told(found: Bill, price: Price) -> dict[str, Any]:
    """Return all of it, JSON-ready; times in hours, room in bytes."""
    hours = found.gpu_hours
    return {
        "device": {
            "name": found.device.name,
            "why": found.device.why,
            "count": found.devices,
        },
        "gpu_hours": hours,
        "blocked_gpu_hours": found.blocked_gpu_hours,
        "wall_hours": found.wall_hours,
        "whole_wall_hours": found.whole_wall_hours,
        "disk": {
            "needed_bytes": round(found.room.needed),
            "whole_needed_bytes": round(found.whole_room.needed),
            "free_bytes": found.room.free,
        },
        "energy_kwh": found.kwh if price.energy else None,
        "whole_energy_kwh": found.whole_kwh if price.energy else None,
        "price": {
            "per_gpu_hour": price.price_per_gpu_hour,
            "currency": price.currency,
            "total": hours * price.price_per_gpu_hour,
            "whole_total": (hours + found.blocked_gpu_hours) * price.price_per_gpu_hour,
        }
        if price.price_per_gpu_hour
        else None,
        "jobs": [_told(line) for line in found.lines],
    }


def hours_text(hours: float) -> str:
    """Return hours for people: seconds and minutes where they are few."""
    if hours == 0:
        return "0"
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.1f} min" if hours < 1 else f"{hours:,.1f} h"


def _told(line: Line) -> dict[str, Any]:
    """Return one job, JSON-ready."""
    job = line.job
    return {
        "key": job.key,
        "row": job.row,
        "recipe": job.recipe.name,
        "seed": job.seed,
        "state": line.state,
        "reason": line.reason,
        "gpus": line.gpus,
        "hours": line.hours,
        "gpu_hours": line.gpu_hours,
        "share_left": line.left,
        "from": line.estimate.how,
        "source": line.estimate.source,
        "watts": line.watts,
        "watts_from": line.watts_from,
    }


def _cells(line: Line, wide: bool) -> tuple[str, ...]:
    """Return one job's texts, in the order of the headings."""
    job, how = line.job, line.estimate.how
    done = f" {1 - line.left:.0%}" if 0 < line.left < 1 else ""
    cached = line.state == "cached"
    source = f"{how}: {line.estimate.source}" if wide else how
    return (
        job.key if wide else job.key[:SHORT_KEY],
        job.row,
        job.recipe.name,
        str(job.seed),
        line.state + done,
        "" if cached else str(line.gpus),
        "" if cached else hours_text(line.hours),
        "" if cached else source,
    )


def _energy(found: Bill) -> str:
    """Return the energy with what its power comes from."""
    lines = [line for line in found.lines if line.state not in ("cached", "blocked")]
    sources = sorted({line.watts_from for line in lines})
    return f"{found.kwh:,.1f} kWh of the GPUs alone ({'; '.join(sources) or 'nothing to run'})"


def _cut(text: str, width: int) -> str:
    """Return the text, cut to that many characters."""
    return text if len(text) <= width else text[: width - 1] + "…"


def _jobs(count: int) -> str:
    """Return a number of jobs in words."""
    return "1 job" if count == 1 else f"{count} jobs"
