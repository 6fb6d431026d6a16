"""What a job printed, made readable: its last lines, and lines as they come."""

import re
from collections.abc import Iterator
from pathlib import Path

BLOCK = 65536
MOST_BYTES = 4 << 20
"""Of the end of a log that is looked through for its last lines."""
BEGINS = re.compile(r"attempt (\d+) begins: (.*)$")
"""What a job prints when an attempt begins."""
STEERING = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|[@-Z\\-_])")
"""What would steer a terminal: colours, cursor."""


def last_lines(log: Path, count: int) -> tuple[list[str], int]:
    """Return the last lines of a log, readable, and the offset behind them; OSError without one."""
    with log.open("rb") as stream:
        end = stream.seek(0, 2)
        content, start = b"", end
        while start > 0 and content.count(b"\n") <= count and len(content) < MOST_BYTES:
            start = max(0, start - BLOCK)
            stream.seek(start)
            content = stream.read(end - start)
    lines = [readable(line) for line in content.decode(errors="replace").split("\n")]
    if lines[-1] == "":
        lines.pop()
    return lines[-count:] if count else [], end


def new_lines(log: Path, offset: int) -> tuple[list[str], int]:
    """Return the whole lines that came behind the offset, readable, and the offset behind them."""
    try:
        with log.open("rb") as stream:
            stream.seek(offset)
            content = stream.read(MOST_BYTES)
    except FileNotFoundError:
        return [], offset
    whole = content[: content.rfind(b"\n") + 1]
    if not whole and len(content) == MOST_BYTES:  # a line without an end
        whole = content
    lines = whole.decode(errors="replace").split("\n")
    return [readable(line) for line in lines[:-1]], offset + len(whole)


def readable(line: str) -> str:
    """Return a line as it looked in the end: of a progress bar its last state, no colours."""
    states = [state for state in STEERING.sub("", line).split("\r") if state.strip()]
    text = states[-1] if states else ""
    return "".join(c if c.isprintable() or c == "\t" else "�" for c in text).rstrip()


def marked(lines: list[str]) -> Iterator[str]:
    """Yield the lines, with a rule where an attempt begins."""
    for line in lines:
        begins = BEGINS.search(line)
        yield f"──── attempt {begins[1]}: {begins[2]} ────" if begins else line
