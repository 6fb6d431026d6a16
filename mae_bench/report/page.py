"""The leaderboard as one plain HTML page that needs nothing beside its pictures."""

from html import escape
from pathlib import Path

import pandas as pd

from mae_bench.report.leaderboard import notes
from mae_bench.report.table import Table, difference_table, main_table, source_table

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .7rem; text-align: right; border-bottom: 1px solid var(--line); }
th { vertical-align: bottom; font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
td { white-space: nowrap; }
tbody tr:hover { background: var(--soft); }
td.best { font-weight: 700; }
.small { font-size: .85rem; }
img { max-width: 100%; height: auto; border: 1px solid var(--line); }
figure { margin: 1.5rem 0; } figcaption { font-size: .9rem; }
"""
POLICY = "default-src 'none'; img-src 'self' data: file:; style-src 'unsafe-inline'"
CAPTIONS = {
    "reconstructions": "Validation images, what the encoder saw of them, and what was painted.",
    "detections": "Ground truth above, detections below.",
    "segmentations": "Images, ground truth and predictions; black has no label.",
}


def page(suite: str, frame: pd.DataFrame, board: pd.DataFrame, figures: list[Path]) -> str:
    """Return the page's HTML; every name from outside is escaped."""
    sentences = "".join(f"<li>{escape(note)}</li>" for note in notes(board))
    pictures = "".join(_picture(path) for path in figures)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>mae-bench: {escape(suite)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Leaderboard of the suite {escape(suite)}</h1>
{_html(main_table(board))}
<p class="small">Mean ± standard deviation over seeds; n/m where seeds are missing. Bold: the best
of its encoder size, and what lies within the pooled deviation over seeds of it.</p>
<ul>{sentences}</ul>
{pictures}
<h2>Differences to the baselines</h2>
{_html(difference_table(board))}
<h2>Where each number comes from</h2>
{_html(source_table(frame), "small")}
<p>Made by <code>mae-bench run --suite {escape(suite)}</code>.</p>
</body>
</html>
"""


def _html(table: Table, kind: str = "") -> str:
    """Return the table as HTML."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in table.headings)
    body = "".join(
        "<tr>" + "".join(_cell(text, (i, j) in table.bold) for j, text in enumerate(row)) + "</tr>"
        for i, row in enumerate(table.rows)
    )
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(text: str, best: bool) -> str:
    """Return one cell."""
    return f'<td class="best">{escape(text)}</td>' if best else f"<td>{escape(text)}</td>"


def _picture(path: Path) -> str:
    """Return a figure with its caption; pictures lie in figures/ beside the page."""
    caption = escape(CAPTIONS.get(path.stem, path.stem))
    return (
        f'<figure><img src="figures/{escape(path.name)}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
