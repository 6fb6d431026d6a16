"""All that is known of one row: its numbers, their intervals, and the jobs that made them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mae_bench.report.flawed import flaw_texts
from mae_bench.report.frame import status
from mae_bench.report.page.board import KINDS, STAMPS, Board, row_id
from mae_bench.report.page.cells import source_of
from mae_bench.report.page.markup import Html, element, heading, joined, table
from mae_bench.report.page.words import (
    Line,
    basis,
    billions,
    hours,
    interval,
    millions,
    plural,
    titled,
    whole,
)
from mae_bench.report.table import number, signed
from mae_bench.suite.wording import duration

OF_JOB = (
    ("key", "Job"),
    ("version", "Recipe version"),
    ("source", "Encoder from"),
    ("data_fingerprint", "Data fingerprint"),
    ("device", "Device"),
)
OF_PROVENANCE = (
    ("git", "Git revision"),
    ("python", "Python"),
    ("ranks", "Ranks"),
    ("threads", "Threads"),
    ("started", "Started"),
    ("finished", "Finished"),
    ("values", "Published values for"),
)


def row_details(board: Board, jobs: Iterable[Line]) -> Html:
    """Return a section for each row, and one for jobs that belong to no row of the table."""
    of_row: dict[str, list[Line]] = {}
    for job in jobs:
        of_row.setdefault(job["row"], []).append(job)
    sections = []
    for place, row in enumerate(board.rows):
        own = of_row.pop(row["row"], []) if row["kind"] == "ours" else []
        sections.append(_section(row_id(place), row["row"], _of_row(board, row, own)))
    for place, (label, own) in enumerate(of_row.items()):
        sections.append(_section(f"other-{place}", label, [_jobs(own)]))
    return joined(sections, "\n")


def _section(name: str, label: str, parts: Iterable[Html]) -> Html:
    """Return a row's section under its name."""
    title = element("h3", label, id=f"{name}-name", tabindex=-1)
    return element(
        "section", title, *parts, id=name, class_="detail", aria_labelledby=f"{name}-name"
    )


def _of_row(board: Board, row: Line, jobs: list[Line]) -> Iterator[Html]:
    """Yield facts, flaws, deviations, numbers and jobs of a row."""
    yield facts_list(
        {
            "Kind": KINDS[row["kind"]],
            "Architecture": row["arch"],
            "Origin": row["origin"],
            "Pretraining epochs": whole(row["epochs"]),
            "Parameters": f"{millions(row['params'])} M" if row["params"] else "",
            "FLOPs": f"{billions(row['flops'])} G multiply-adds" if row["flops"] else "",
            "Encoder SHA-256": _encoder_hash(jobs),
            "Recipe": STAMPS[row["stamp"]].lower() if row["kind"] == "ours" else "",
            "Source": source_of(row),
        }
    )
    flaws = flaw_texts(row)
    if flaws:
        yield joined([element("h4", "What went wrong in training"), _list(flaws)])
    if row["deviations"]:
        ways = plural(len(row["deviations"]), "deviation")
        yield _folded(f"{ways} from the published recipes", _list(row["deviations"]))
    numbers = board.of_row(row)
    if numbers:
        yield _numbers(numbers)
    if jobs:
        yield _jobs(jobs)


def _encoder_hash(jobs: Iterable[Line]) -> str:
    """Return the hash of the encoder file that the row's tasks read."""
    found = (job["provenance"].get("facts", {}).get("encoder", {}).get("sha256") for job in jobs)
    return next((str(one) for one in found if one), "")


def _numbers(numbers: list[tuple[Line, Line]]) -> Html:
    """Return the row's numbers with everything that is known of each."""
    names = ("Metric", "Mean", "95 % interval", "Interval from", "Seeds", "Published", "Source")
    ends = ("", "n", "n", "", "", "n", "")
    headings = [heading(name, kind) for name, kind in zip(names, ends, strict=True)]
    lines = [_number_line(column, cell) for column, cell in numbers]
    return table("Numbers", headings, [element("tbody", *lines)], "small")


def _number_line(column: Line, cell: Line) -> Html:
    """Return one number's line; a published one has only its mean and source."""
    digits = column["digits"]
    name = joined([titled(column), element("small", column["task"])])
    if "numbers" not in cell:
        texts = ["", "", "", number(cell["mean"], digits), source_of(cell)]
        mean = ""
    else:
        distance = signed(cell.get("delta_published"), digits)
        away = element("small", ", ".join(filter(None, (distance, cell.get("agreement")))))
        published = number(cell.get("published"), digits)
        texts = [
            interval(cell),
            basis(cell["basis"]),
            joined([_seed(one, digits) for one in cell["numbers"]]),
            joined([published, away]) if published else "",
            "; ".join(filter(None, (cell.get("published_by"), cell.get("published_note")))),
        ]
        mean = number(cell["mean"], digits) or f"{cell['n']}/{cell['m']}"
    kinds = ("n", "", "", "n", "")
    rest = [element("td", text, class_=kind) for text, kind in zip(texts, kinds, strict=True)]
    first = element("th", name, scope="row")
    return element("tr", first, element("td", mean, class_="n"), *rest)


def _seed(one: Line, digits: int) -> Html:
    """Return the number of one seed, or why there is none."""
    value = number(one["value"], digits)
    text = value or status(one["state"], one["reason"])
    link = element("a", text, href=f"#job-{one['key']}")
    return element("div", f"seed {one['seed']}: ", link)


def _jobs(jobs: Iterable[Line]) -> Html:
    """Return every job's provenance, folded up under its name."""
    return element("div", element("h4", "Jobs"), *map(_job, jobs))


def _job(job: Line) -> Html:
    """Return what is known of a job."""
    made = job["provenance"]
    spent = "" if job["seconds"] is None else duration(job["seconds"])
    facts = {
        "State": status(job["state"], job["reason"]),
        "Numbers": job["numbers"],
        **{title: job[name] for name, title in OF_JOB},
        "Time": spent,
        "GPU-hours": hours(job["gpu_hours"]) if made.get("ranks") else "",
        **{title: made.get(name) for name, title in OF_PROVENANCE},
        "Versions": ", ".join(f"{k} {v}" for k, v in made.get("versions", {}).items()),
        **_flat({k: v for k, v in made.items() if k.startswith("energy")}),
        **_flat(made.get("facts", {})),
    }
    summary = f"{job['recipe']} · seed {job['seed']} · {job['state']}"
    content = [
        facts_list(facts),
        _folded("Fields of the recipe", facts_list(_flat(job["fields"]))),
    ]
    if job["deviations"]:
        ways = plural(len(job["deviations"]), "deviation")
        content.append(_folded(f"{ways} from the published recipe", _list(job["deviations"])))
    return element(
        "details",
        element("summary", summary, spent and element("small", spent)),
        *content,
        id=f"job-{job['key']}",
        class_="job",
    )


def _flat(facts: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Return nested facts as one level, `data.classes` for classes in data."""
    found: dict[str, str] = {}
    for name, value in facts.items():
        label = f"{above}{name}"
        if isinstance(value, Mapping):
            found |= _flat(value, f"{label}.")
        elif isinstance(value, list):
            found[label] = ", ".join(map(str, value))
        else:
            found[label] = "" if value is None else str(value)
    return found


def facts_list(facts: Mapping[str, Any]) -> Html:
    """Return names with their values; blanks are left out."""
    pairs = [
        element("div", element("dt", name), element("dd", str(value)))
        for name, value in facts.items()
        if value not in (None, "")
    ]
    return element("dl", *pairs)


def _folded(summary: str, content: Html) -> Html:
    """Return content that is folded up under its summary."""
    return element("details", element("summary", summary), content)


def _list(texts: Iterable[str]) -> Html:
    """Return a list of sentences."""
    return element("ul", *(element("li", text) for text in texts))
