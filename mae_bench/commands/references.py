"""Brings numbers of others into a store, lists them, and removes them."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from mae_bench.cli import FAILED, OK
from mae_bench.commands.options import Place, parse
from mae_bench.report.imported import files, imported, keep, remove
from mae_bench.report.published import Reference
from mae_bench.suite.wording import one_line


@dataclass(frozen=True)
class ImportOptions:
    """Which numbers to bring in or to remove."""

    file: tyro.conf.Positional[Path | None] = None
    """CSV with the columns method, backbone, protocol, metric, value, source, and if you like
    pretrain_data, pretrain_epochs, location and note; without it what is there is listed."""
    remove: str = ""
    """Remove the numbers of this name: that of the file without .csv."""
    place: Place = field(default_factory=Place)


def references(words: list[str]) -> int:
    """Bring in, list or remove reference numbers; return 1 if some cannot be read."""
    about = "Let numbers of others stand beside ours in every later report."
    options = parse(ImportOptions, "import", words, about)
    store = options.place.read().store
    if options.file is not None and options.remove:
        raise ValueError(f"import brings in {options.file} or removes {options.remove}; pass one")
    if options.remove:
        remove(options.remove, store)
        print(f"removed {options.remove}; the next report is without its numbers")
        return OK
    if options.file is not None:
        is_new = not store.exists()
        kept = keep(options.file, store)
        numbers = "1 number" if len(kept) == 1 else f"{len(kept)} numbers"
        print(f"{numbers} of {options.file} will stand in every later report of {store}")
        if is_new:
            print(f"there was no store {store}, so it was made; --store DIR names another")
        for doubt in map(_doubt, kept):
            if doubt:
                print(one_line(doubt), file=sys.stderr)
        return OK
    return _listed(store)


def _listed(store: Path) -> int:
    """Print the store's reference numbers."""
    found = imported(store)
    if not files(store):
        print(f"no imported numbers in {store}; mae-bench import FILE.csv brings some in")
    for name, one in found.named:
        print(one_line(f"{name}: {_line(one)}"))
    for problem in found.problems:
        print(one_line(problem))
    return FAILED if found.problems else OK


def _doubt(one: Reference) -> str:
    """Return what is to be asked of a percentage so small that it may be a fraction, or nothing."""
    if one.unit != "%" or not 0.0 < one.value <= 1.0:
        return ""
    return (
        f"{one.method} {one.backbone}: {one.protocol} {one.metric} is taken as {one.value:g} %; "
        f"if it is a fraction, write {100.0 * one.value:g} and import again"
    )


def _line(one: Reference) -> str:
    """Return a number on one line."""
    epochs = "" if one.pretrain_epochs is None else f", {one.pretrain_epochs:g} epochs"
    return (
        f"{one.method} {one.backbone}{epochs}: {one.protocol} {one.metric} {one.value:g}"
        f"{' ' * bool(one.unit)}{one.unit} ({one.place})"
    )
