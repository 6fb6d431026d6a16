"""Numbers of others that a user brought into a store, to stand beside ours in every report."""

import re
from dataclasses import dataclass
from pathlib import Path

from mae_bench.core.files import write_bytes
from mae_bench.core.names import check_name, check_own
from mae_bench.core.recipe import unknown
from mae_bench.report.published import Reference, read_references

FOLDER = "references"
"""In the store: a file for each import."""


@dataclass(frozen=True)
class Imported:
    """What a store holds of users' own reference numbers."""

    named: tuple[tuple[str, Reference], ...]
    """Each number behind the name of its file, without .csv."""
    problems: tuple[str, ...]
    """A sentence for each file that cannot be read any more."""

    @property
    def references(self) -> tuple[Reference, ...]:
        """The numbers alone."""
        return tuple(one for _, one in self.named)


def imported(store: Path) -> Imported:
    """Return all reference numbers of the store, file after file by name."""
    named: list[tuple[str, Reference]] = []
    problems = []
    for path in files(store):
        try:
            named += [(path.stem, one) for one in _read(path)]
        except (OSError, ValueError) as error:
            problems.append(
                f"Left out: {error}. Mend {FOLDER}/{path.name} in the store, or remove it with "
                f"`mae-bench import --remove {path.stem}`."
            )
    return Imported(tuple(named), tuple(problems))


def files(store: Path) -> list[Path]:
    """Return the files of reference numbers in the store, by name."""
    return sorted(path for path in (store / FOLDER).glob("*.csv") if path.is_file())


def keep(file: Path, store: Path) -> tuple[Reference, ...]:
    """Check the file's numbers, keep it in the store under its own name and return them.

    One of the same name is replaced. Raises ValueError naming what is wrong, and then nothing is
    kept.
    """
    if not file.is_file():
        raise ValueError(f"no file {file}; pass a CSV file of reference numbers")
    check_name(f"the name of {file}, which its numbers are known by,", file.stem)
    references = _read(file)
    folder = store / FOLDER
    check_own(folder, "the store")
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / f"{file.stem}.csv", file.read_bytes())
    return references


def remove(name: str, store: Path) -> None:
    """Remove the numbers of that name; ValueError with the nearest name if there are none."""
    known = {path.stem: path for path in files(store)}
    if not known:
        raise ValueError(f"no imported numbers in the store {store}, so none of {name!r} to remove")
    if name not in known:
        raise ValueError(unknown("import", name, known))
    check_own(store / FOLDER, "the store")
    known[name].unlink()


def _read(path: Path) -> tuple[Reference, ...]:
    """Return the numbers of a file; ValueError if it is not text."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8 text; save it as CSV in UTF-8") from error
    if re.search(r"[^\S\n\r\t ]|[\x00-\x08\x0e-\x1f]", text.replace("\u00a0", " ")):
        raise ValueError(f"{path.name} has control characters; save it as plain CSV")
    return read_references(text, path.name, "imported")
