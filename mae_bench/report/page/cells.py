"""One number of the main table: its interval, its distance to the published one, its jobs."""

from collections.abc import Iterable

from mae_bench.report.page.markup import Html, element, joined, said
from mae_bench.report.page.words import SIGNS, Line, basis, interval
from mae_bench.report.table import number, signed


def source_of(line: Line) -> str:
    """Return source and place in it of a published row or number, with its note."""
    place = ", ".join(filter(None, (line.get("source"), line.get("location"))))
    return "; ".join(filter(None, (place, line.get("note"))))


def number_cell(cell: Line | None, column: Line, classes: str) -> Html:
    """Return one number with its interval and its distance to the published one."""
    if cell is None:
        return element("td", class_=classes)
    if "numbers" not in cell:  # a published one
        text = element("span", number(cell["mean"], column["digits"]), title=source_of(cell))
        return element("td", text, class_=classes, data_v=repr(cell["mean"]))
    if cell["mean"] is None:
        return element("td", *_hole(cell), class_=f"{classes} hole")
    best = "best" if cell["best"] else ""
    mark = [element("span", "●", class_="mark", aria_hidden="true")] if best else []
    parts = [
        element("a", *mark, number(cell["mean"], cell["digits"]), **_leads(cell)),
        said("best, or not told apart from it") if best else "",
        element("small", interval(cell)) if interval(cell) else "",
        _twin(cell),
    ]
    classes = f"{classes} {best}".strip()
    return element("td", *parts, class_=classes, data_v=repr(cell["mean"]))


def _leads(cell: Line) -> dict[str, str | None]:
    """Return where a number leads, and what is said of it when it is pointed at."""
    keys = [one["key"] for one in cell["numbers"]]
    return {"href": f"#job-{keys[0]}" if keys else None, "title": hint(cell)}


def hint(cell: Line) -> str:
    """Return all that is to be said of a number: its interval's basis, its twin, its jobs."""
    sentences: list[str] = []
    if interval(cell):
        sentences.append(f"95 % interval {interval(cell)}: {basis(cell['basis'])}.")
    elif cell["mean"] is not None:
        sentences.append("No interval is known.")
    if cell["m"] > 1:
        sentences.append(f"Mean of {cell['n']} seeds, sd {number(cell['sd'], cell['digits'])}.")
    if cell.get("published") is not None:
        sentences.append(f"Published: {_published(cell)}.")
    keys = dict.fromkeys(one["key"] for one in cell["numbers"])
    sentences.append(f"Job{'s' * (len(keys) > 1)} {', '.join(keys)}.")
    return "\n".join(sentences)


def _published(cell: Line) -> str:
    """Return the published number, its source and the distance to it."""
    text = f"{number(cell['published'], cell['digits'])}, {cell['published_by']}"
    distance = signed(cell.get("delta_published"), cell["digits"])
    found = ", ".join(filter(None, (distance, cell.get("agreement"))))
    return f"{text} ({found})" if found else text


def _twin(cell: Line) -> str:
    """Return the distance to the published number of the same encoder in the same protocol."""
    if cell.get("published") is None:
        return ""
    distance = signed(cell.get("delta_published"), cell["digits"])
    agreement = cell.get("agreement") or ""
    published = number(cell["published"], cell["digits"])
    sign = element("b", SIGNS.get(agreement, ""), aria_hidden="true")
    words = said(f", {agreement}") if agreement else ""
    inner = joined([f"pub. {published}", joined([distance, " ", sign, words])], " · ")
    return element("small", inner, class_="twin")


def _hole(cell: Line) -> Iterable[Html]:
    """Return n of m seeds and what became of the rest; only words if nothing is to be measured."""
    if cell["m"] == 0:
        return [said("not measured")]
    missing = [one for one in cell["numbers"] if one["value"] is None]
    states = ", ".join(dict.fromkeys(one["state"] for one in missing))
    reasons = "; ".join(
        dict.fromkeys(f"{one['state']}: {one['reason']}" for one in missing if one["reason"])
    )
    leads = _leads(cell) | {"title": reasons or states}
    return [element("a", f"{cell['n']}/{cell['m']}", **leads), element("small", states)]
