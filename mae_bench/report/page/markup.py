"""HTML made of elements: text from outside is escaped because nothing else can be written."""

from collections.abc import Iterable
from html import escape

VOID = ("col", "img", "input", "meta")


class Html(str):
    """Markup, which is not escaped again; every other text is."""

    __slots__ = ()


def element(name: str, /, *content: str, **attributes: str | float | None) -> Html:
    """Return the element with its content; text and values are escaped unless they are Html.

    `class_` is written `class`, `data_id` is `data-id`. None, False and "" leave an attribute out,
    True writes it alone.
    """
    opening = [name]
    for key, value in attributes.items():
        label = key.rstrip("_").replace("_", "-")
        if value is True:
            opening.append(label)
        elif value is not None and value is not False and value != "":
            opening.append(f'{label}="{escape(str(value))}"')
    if name in VOID:
        return Html(f"<{' '.join(opening)}>")
    return Html(f"<{' '.join(opening)}>{joined(content)}</{name}>")


def joined(parts: Iterable[str], between: str = "") -> Html:
    """Return the parts one after another, escaped unless they are Html; empty ones are left out."""
    safe = (part if isinstance(part, Html) else escape(part) for part in parts if part)
    return Html(escape(between).join(safe))


def table(caption: str, headings: Iterable[Html], bodies: Iterable[Html], kind: str = "") -> Html:
    """Return a table with its caption, in a box that scrolls sideways and takes the keyboard."""
    head = element("thead", element("tr", *headings))
    title = element("caption", caption, class_="said")
    inner = element("table", title, head, *bodies, class_=kind)
    return element(
        "div", inner, class_="box", role="region", aria_label=f"Table: {caption}", tabindex=0
    )


def heading(text: str, kind: str = "") -> Html:
    """Return the heading of a column."""
    return element("th", text, scope="col", class_=kind)


def said(text: str) -> Html:
    """Return text for screen readers only."""
    return element("span", text, class_="said")
