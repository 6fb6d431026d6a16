"""Puts the table of results/demo-ssl into the README: `make readme`."""

import csv
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "demo-ssl" / "leaderboard.csv"
BEGIN, END = "<!-- results/demo-ssl: made by `make readme` -->\n", "<!-- end -->\n"


def cell(line: dict[str, str]) -> str:
    """Return mean ± deviation, bold where the leaderboard has it so; empty where nothing is."""
    if not line["mean"]:
        return ""
    digits = int(line["digits"])
    text = f"{float(line['mean']):.{digits}f}"
    if line["sd"]:
        text += f" ± {float(line['sd']):.{digits}f}"
    return f"**{text}**" if line["best"] == "True" else text


def table(lines: list[dict[str, str]]) -> str:
    """Return the Markdown of a leaderboard's lines: a row for each encoder."""
    rows = list(dict.fromkeys(line["row"] for line in lines))
    heads = list(dict.fromkeys(f"{line['title']} ({line['unit']})" for line in lines))
    cells = {(line["row"], f"{line['title']} ({line['unit']})"): cell(line) for line in lines}
    made = [["encoder", *heads], ["---", *("---:" for _ in heads)]]
    made += [[row, *(cells.get((row, head), "") for head in heads)] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in made)


def filled(readme: str, results: Path) -> str:
    """Return the README with the results' table between its marks, nothing if there are none."""
    before, _, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the README has no lines {BEGIN!r} and {END!r}; put them back")
    made = ""
    if results.exists():
        with results.open(newline="") as stream:
            made = "\n" + table(list(csv.DictReader(stream))) + "\n"
    return before + BEGIN + made + END + after


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(filled(path.read_text(), RESULTS))
