"""Foreign encoders written as files of ours, once."""

from pathlib import Path

from mae_bench.core.files import write_bytes
from mae_bench.kit.encoder import encoder_bytes
from mae_bench.kit.foreign.importing import Imported, import_encoder


def convert(path: Path, out: Path) -> str:
    """Write our file with the weights of a foreign one; return what was done in a sentence.

    Raises ValueError, and writes nothing, if it is no encoder or does not arrive completely.
    """
    return keep(path.name, import_encoder(path), out)


def keep(what: str, imported: Imported, out: Path) -> str:
    """Write an imported encoder to `out` and return what was done in a sentence."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, _content(imported, out))
    spec, arrived = imported.encoder.spec, imported.arrival
    return (
        f"{what}: {imported.format}, {spec.arch} of {spec.image_size} pixels, "
        f"{arrived.coverage:.0f} % of {len(imported.encoder.state)} tensors arrived; kept as {out}"
    )


def write_once(imported: Imported, out: Path) -> bool:
    """Write an imported encoder unless the same is there; return whether it was written.

    Raises ValueError if another encoder has that name.
    """
    content = _content(imported, out)
    if out.exists():
        if out.read_bytes() == content:
            return False
        raise ValueError(
            f"{out.stem} is the name of another encoder already ({out}); pass --name with a new "
            "name, or remove that file"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, content)
    return True


def _content(imported: Imported, out: Path) -> bytes:
    """Return the bytes of the file."""
    encoder = imported.encoder
    return encoder_bytes(str(out), encoder.spec, encoder.state, encoder.history)
