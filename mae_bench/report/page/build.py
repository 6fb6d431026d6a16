"""The leaderboard as one plain HTML page that needs nothing beside its pictures."""

from html import escape
from pathlib import Path

from mae_bench.report.document import Document
from mae_bench.report.table import Cell, Table
from mae_bench.report.tables import job_table, main_tables

STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; --best: #2a93; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto;
  padding: 0 1rem; background: Canvas; color: CanvasText; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .7rem; text-align: left; border-bottom: 1px solid var(--line); }
.r { text-align: right; }
td.r { white-space: nowrap; }
thead th { vertical-align: bottom; font-weight: 600; }
thead th.group { text-align: center; }
tbody th { font-weight: 600; position: sticky; left: 0; background: Canvas; min-width: 7rem; }
tbody tr:hover td, tr:target td { background: var(--soft); }
tbody td.best { font-weight: 700; background: var(--best); }
td a { color: inherit; text-decoration: underline dotted; text-underline-offset: .2em; }
.small { font-size: .85rem; } .small th, .small td { padding: .3rem .45rem; }
.small td:not(.r, .corner) { min-width: 7rem; overflow-wrap: break-word; }
code { font-size: .9em; overflow-wrap: anywhere; }
img { display: block; max-width: 100%; height: auto; }
figure { margin: 1.5rem 0; } figcaption { font-size: .9rem; margin-top: .4rem; }
@media (max-width: 40rem) {
  body { margin: 1rem auto; } ul { padding-left: 1.2rem; }
  th, td { padding: .35rem .5rem; } tbody th { min-width: 5.5rem; }
}
"""
POLICY = "default-src 'none'; img-src 'self' data: file:; style-src 'unsafe-inline'"
CAPTIONS = {
    "reconstructions": "Validation images, what the encoder saw of them, and what was painted.",
    "partial": "Accuracy when only the last blocks are trained.",
    "detections": "Ground truth beside detections; dashed is what was missed or is wrong.",
    "segmentations": "Images, ground truth and predictions; hatched pixels are not counted.",
}


def page(document: Document) -> str:
    """Return the page's HTML; every name from outside is escaped."""
    sentences = "".join(f"<li>{escape(note)}</li>\n" for note in document["notes"])
    pictures = "".join(_picture(Path(one["files"][0])) for one in document["figures"])
    shown = "".join(map(_html, main_tables(document).values()))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>mae-bench: {escape(document['suite'])}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Leaderboard of the suite {escape(document['suite'])}</h1>
{shown}
<p class="small">{escape(document["explanation"])}</p>
<ul>
{sentences}</ul>
{pictures}<h2>Where each number comes from</h2>
{_html(job_table(document), "small")}
<p>Made by <code>{escape(document['command'])}</code>; all single numbers are in
<a href="long.csv">long.csv</a>.</p>
</body>
</html>
"""


def caption(path: Path) -> str:
    """Return what a picture shows."""
    return CAPTIONS.get(path.stem, path.stem)


def _html(table: Table, kind: str = "") -> str:
    """Return the table as HTML, in a box that scrolls sideways on a narrow screen."""
    head = "".join(
        f'<th class="{side}" scope="col">{escape(text)}</th>'
        for text, side in zip(table.headings, table.align, strict=True)
    )
    body = "".join(
        f"<tr>{''.join(map(_cell, line, table.align, range(len(line))))}</tr>\n"
        for line in table.lines
    )
    return (
        f'<div class="scroll"><table class="{kind}">\n<thead>'
        + f"<tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>"
    )


def _cell(cell: Cell, side: str, column: int) -> str:
    """Return one cell."""
    text = escape(cell.text)
    if column == 0:
        return f'<th scope="row">{text}</th>'
    return f'<td class="{side}{" best" * cell.best}">{text}</td>'


def _picture(path: Path) -> str:
    """Return a figure with its caption."""
    text = escape(caption(path))
    return (
        f'<figure><img src="figures/{escape(path.name)}" alt="{text}">'
        f"<figcaption>{text}</figcaption></figure>\n"
    )
