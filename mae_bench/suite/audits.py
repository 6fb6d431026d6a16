"""Lets no job train on data that is broken, and remembers in the store what was found fine."""

import contextlib
import hashlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from mae_bench.core.files import write_json
from mae_bench.core.recipe import Recipe
from mae_bench.kit.fingerprints import data_state

if TYPE_CHECKING:  # numpy and Pillow, which a run of cached jobs has no use for
    from mae_bench.kit.audit.audit import Wanted
    from mae_bench.kit.audit.problems import Progress

log = logging.getLogger(__name__)

VERSION = 2
"""Raised when more is looked at than before."""
MEMORY = "audits.json"
"""In the store: the data sets that were found fine, and their state then."""


def wanted_of(recipe: Recipe, root: Path) -> "Wanted":
    """Return what a recipe needs of its data set in that folder."""
    from mae_bench.kit.audit.audit import Wanted

    own_labels = recipe.dataset == "ade20k"  # of the others the first label is known
    return Wanted(
        recipe.dataset,
        root.resolve(),
        tuple(sorted(getattr(recipe, "sets", ()))),
        first_label=int(getattr(recipe, "reduce_zero_label", True)) if own_labels else 1,
        train_list=getattr(recipe, "train_list", "train"),
    )


def broken(wanted: "Wanted", store: Path, progress: "Progress") -> str:
    """Return what is wrong with the data set in one line; empty if it can be trained on.

    What was found fine is remembered in the store until a folder, a list or an annotation file
    changes; a file that is written over in place is not seen. Faults that the toolboxes mend are
    logged as warnings.
    """
    from mae_bench.kit.audit.audit import AUDITS

    if wanted.dataset not in AUDITS:
        return ""
    fatal = [line for part in wanted.parts for line in _fatal(part, store / MEMORY, progress)]
    if fatal:
        return f"{wanted.dataset}: {'; '.join(fatal)}; {wanted.command} lists ten of each"
    return ""


def _fatal(part: "Wanted", memory: Path, progress: "Progress") -> list[str]:
    """Return a line for each kind of fault that training would not survive; warn of the others."""
    key = hashlib.sha256(repr((VERSION, part)).encode()).hexdigest()[:16]
    state = data_state(part.dataset, part.root)
    if _read(memory).get(key) == state:
        return []
    from mae_bench.kit.audit.audit import audit

    problems = audit(part, progress)
    for problem in problems:
        if not problem.fatal:
            log.warning("%s: %s", part.dataset, problem.text)
    fatal = [problem.line for problem in problems if problem.fatal]
    if not fatal:
        with contextlib.suppress(OSError):  # then it is looked at again
            write_json(memory, _read(memory) | {key: state})
    return fatal


def _read(path: Path) -> dict[str, str]:
    """Return what is remembered; nothing if that cannot be read."""
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
