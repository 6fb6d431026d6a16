"""The parts of the page after its main table: figures, costs, rank agreement, jobs."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mae_bench.report.frame import status
from mae_bench.report.page.markup import Html, element, heading, joined, table
from mae_bench.report.page.words import Line, hours, p_value, titled
from mae_bench.report.table import number, three
from mae_bench.suite.wording import duration

KINDS = {".svg": "image/svg+xml", ".png": "image/png"}
"""Suffix -> media type of the pictures that the page holds, the better first."""


def sentences(texts: Sequence[str]) -> Html | None:
    """Return the texts as a list."""
    return element("ul", *(element("li", text) for text in texts)) if texts else None


def figures(pictures: Iterable[Line], folder: Path) -> Html | None:
    """Return each figure inside the page, with links to its files beside it."""
    found = [_figure(picture, folder) for picture in pictures]
    return element("div", *found, class_="figures") if found else None


def _figure(picture: Line, folder: Path) -> Html:
    """Return one figure with its caption."""
    files = [str(file) for file in picture["files"]]
    shown = min(
        (file for file in files if Path(file).suffix in KINDS),
        key=lambda file: list(KINDS).index(Path(file).suffix),
        default=None,
    )
    parts: list[Html] = []
    if shown is not None:
        content = base64.b64encode((folder / shown).read_bytes()).decode()
        source = f"data:{KINDS[Path(shown).suffix]};base64,{content}"
        parts.append(element("img", src=source, alt=picture["caption"]))
    links = [element("a", Path(file).suffix[1:].upper(), href=file) for file in files]
    caption = element("figcaption", picture["caption"], " ", element("small", joined(links, " ")))
    return element("figure", *parts, caption)


def efficiency_table(lines: Sequence[Line]) -> Html | None:
    """Return what each number costs to reach, those that nothing cheaper reaches marked."""
    if not lines:
        return None
    groups: dict[str, list[Html]] = {}
    for line in lines:
        name = " · ".join(filter(None, (line["title"], line["variant"])))
        groups.setdefault(name, []).append(_cost_line(line))
    bodies = [
        element(
            "tbody",
            element("tr", element("th", name, colspan=7, scope="rowgroup"), class_="band"),
            *group,
        )
        for name, group in groups.items()
    ]
    names = (
        "Encoder",
        "Number",
        "GPU-hours of pretraining",
        "of transfer",
        "together",
        "Times as dear",
        "Hours from",
    )
    ends = ("", "n", "n", "n", "n", "n", "")
    headings = [heading(name, kind) for name, kind in zip(names, ends, strict=True)]
    return table("GPU-hours to reach each number", headings, bodies, "small")


def _cost_line(line: Line) -> Html:
    """Return what one number costs."""
    unit = f" {line['unit']}" if line["unit"] else ""
    dear = number(line["relative_cost"], 1)
    if line["front"]:
        dear = "● on the front"
    elif line["cheapest"]:
        dear = joined([dear, element("small", f"of {line['cheapest']}")])
    costs = [line[f"{part}_gpu_hours"] for part in ("pretraining", "transfer", "total")]
    return element(
        "tr",
        element("th", line["row"], scope="row"),
        element("td", f"{number(line['mean'], int(line['digits']))}{unit}", class_="n"),
        *(element("td", three(cost), class_="n") for cost in costs),
        element("td", dear, class_="n"),
        element("td", joined([line["hours_from"], element("small", line["device"])])),
        class_="ours" if line["kind"] == "ours" else "theirs",
    )


def agreement_table(lines: Sequence[Line], columns: Sequence[Line]) -> Html | None:
    """Return how far each two columns agree in how they rank the encoders."""
    if not lines:
        return None
    names = ("Column", "Beside", "Encoders", "Spearman's ρ", "Kendall's τ", "p of τ")
    ends = ("", "", "n", "n", "n", "n")
    headings = [heading(name, kind) for name, kind in zip(names, ends, strict=True)]
    titles = {column["id"]: titled(column) for column in columns}
    body = element("tbody", *(_agreement_line(line, titles) for line in lines))
    return table("Rank agreement of columns", headings, [body], "small")


def _agreement_line(line: Line, titles: Mapping[str, str]) -> Html:
    """Return how far two columns agree; one of another tier has only its id."""
    numbers = [number(line[name], 2) for name in ("spearman", "kendall")]
    p = (p_value(line["p"]) or "").removeprefix("p ").removeprefix("= ")
    return element(
        "tr",
        element("th", titles.get(line["one"], line["one"]), scope="row"),
        element("td", titles.get(line["other"], line["other"])),
        *(element("td", text, class_="n") for text in (str(line["n"]), *numbers, p)),
    )


def job_table(jobs: Sequence[Line]) -> Html | None:
    """Return one line a job, which leads to all that is known of it."""
    if not jobs:
        return None
    names = ("Encoder", "Recipe", "Seed", "Numbers", "Time", "GPU-hours", "Job", "Encoder from")
    ends = ("", "", "n", "", "n", "n", "", "")
    headings = [heading(name, kind) for name, kind in zip(names, ends, strict=True)]
    lines = [_job_line(job) for job in jobs]
    return table("Jobs", headings, [element("tbody", *lines)], "small")


def _job_line(job: Line) -> Html:
    """Return a job's line: its numbers, or why there are none."""
    done = job["state"] == "done"
    ending = job["numbers"] or "done"
    if not done:
        ending = status(job["state"], job["reason"])
    link = element("a", element("code", job["key"]), href=f"#job-{job['key']}")
    return element(
        "tr",
        element("th", job["row"], scope="row"),
        element("td", job["recipe"]),
        element("td", str(job["seed"]), class_="n"),
        element("td", ending, class_="ending"),
        element("td", "" if job["seconds"] is None else duration(job["seconds"]), class_="n"),
        element("td", hours(job["gpu_hours"]), class_="n"),
        element("td", link),
        element("td", element("code", job["source"]) if job["source"] else ""),
    )
