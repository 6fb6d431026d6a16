"""Pictures of a job in figures/: each says in itself what it shows, and none fails the job."""

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mae_bench.core.files import FACTS, record_facts, write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

FIGURES = "figures"
UNDRAWN = "undrawn"
"""Key in facts.json: figure -> why it could not be drawn."""
SHOWS = "Description"
"""PNG's own keyword for a sentence on the picture."""


def write_picture(path: Path, picture: Image.Image, shows: str) -> None:
    """Write the picture as PNG with a sentence on what it shows; same input, same bytes."""
    note, stream = PngInfo(), io.BytesIO()
    note.add_itxt(SHOWS, shows)
    picture.save(stream, format="png", pnginfo=note)
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, stream.getbuffer())


def write_plot(path: Path, figure: "Figure", shows: str) -> None:
    """Write a matplotlib figure as PNG, with a sentence on what it shows."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    stream.seek(0)
    with Image.open(stream) as picture:
        write_picture(path, picture.convert("RGB"), shows)


def shows(path: Path) -> str:
    """Return what the picture says that it shows, else its size, or why it cannot be read."""
    try:
        with Image.open(path) as picture:
            size = f"a picture of {picture.width}x{picture.height} pixels"
            return str(getattr(picture, "text", {}).get(SHOWS, size))
    except (OSError, ValueError, SyntaxError) as error:
        return f"cannot be read: {str(error).splitlines()[0]}"


@contextlib.contextmanager
def drawing(out: Path, name: str) -> Iterator[Path]:
    """Yield the path of the figure `name` in the job's folder `out`, to be drawn in the block.

    What goes wrong there is a warning and a line in facts.json, and an earlier figure of that name
    is deleted: a finished job keeps its metrics whatever its pictures do.
    """
    path = out / FIGURES / name
    try:
        yield path
        reason = ""
    except Exception as error:
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        log.warning("figures/%s could not be drawn: %s", name, reason)
    if reason:
        with contextlib.suppress(OSError):
            path.unlink()
    try:
        _note(out, name, reason)
    except (OSError, ValueError) as error:
        log.warning("facts.json does not say so: %s", error)


def _note(out: Path, name: str, reason: str) -> None:
    """Keep in facts.json why the figure was not drawn, or forget it when it was."""
    path = out / FACTS
    facts: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    before = facts.get(UNDRAWN, {})
    after = {other: why for other, why in before.items() if other != name}
    if reason:
        after[name] = reason
    if after != before:
        record_facts(out, **{UNDRAWN: after})
