"""What the reader may choose: which rows and columns are shown. A script makes it work."""

from collections.abc import Iterable

from mae_bench.report.page.board import FACTS, KINDS, STAMPS, Board
from mae_bench.report.page.markup import Html, element
from mae_bench.report.page.words import titled


def controls(board: Board) -> Html:
    """Return the box for words, the menus, and the line that says what is shown."""
    words = element(
        "label",
        element("span", "Filter rows", class_="said"),
        element(
            "input",
            type="search",
            id="words",
            placeholder="Filter by encoder, architecture, origin, task …",
            autocomplete="off",
            spellcheck="false",
        ),
        class_="words",
    )
    reset = element("button", "Reset", type="button", id="reset")
    tools = element("div", words, *_menus(board), reset, class_="tools")
    count = element("p", role="status", id="count")
    return element("div", tools, count, id="controls", hidden=True)


def _menus(board: Board) -> list[Html]:
    """Return the menus whose choice is no choice of one."""
    rows = board.rows
    ours = [row for row in rows if row["kind"] == "ours"]
    tasks = [task for task, _ in board.tasks()]
    columns = [(column["id"], titled(column)) for column in board.columns]
    facts = [(fact.id, fact.title) for fact in FACTS]
    choices = {
        ("kind", "Rows"): [(kind, KINDS[kind]) for kind in _in_use(row["kind"] for row in rows)],
        ("arch", "Architecture"): [
            (arch, arch) for arch in _in_use(row["arch"] or "unknown" for row in rows)
        ],
        ("stamp", "Recipe"): [
            (stamp or "none", STAMPS[stamp]) for stamp in _in_use(row["stamp"] for row in ours)
        ],
        ("task", "Tasks"): [(task, task) for task in tasks],
        ("column", "Columns"): [*columns, *facts],
    }
    return [_menu(*about, items) for about, items in choices.items() if len(items) > 1]


def _in_use(values: Iterable[str]) -> list[str]:
    """Return each value once, in the order of the rows."""
    return list(dict.fromkeys(values))


def _menu(name: str, title: str, items: list[tuple[str, str]]) -> Html:
    """Return a menu of boxes to tick, all of them ticked."""
    boxes = [
        element(
            "label",
            element("input", type="checkbox", checked=True, data_of=name, value=value),
            element("span", text),
        )
        for value, text in items
    ]
    summary = element("summary", title, element("span", class_="some"))
    group = element("div", *boxes, role="group", aria_label=title)
    return element("details", summary, group, class_="menu")
