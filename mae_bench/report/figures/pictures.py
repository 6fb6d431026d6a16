"""The photographs that jobs left, beside what says where they come from."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from mae_bench.core.files import update_bytes
from mae_bench.core.job import Job
from mae_bench.kit.figures import shows
from mae_bench.report.figures.figure import Figure, write_data
from mae_bench.suite.plan import Plan
from mae_bench.suite.store import Store

PICTURES = {
    "reconstructions": "Validation images, what the encoder saw of them, and what was painted.",
    "detections": "Ground truth beside detections; dashed is what was missed or is wrong.",
    "segmentations": "Images, ground truth and predictions; hatched pixels are not counted.",
}
"""Names of pictures in jobs' folders -> captions."""


def pictures(plan: Plan, store: Store, folder: Path) -> list[Figure]:
    """Copy the pictures that the MAE row's finished jobs left, or else the first row's.

    They are photographs, so there is no svg; the csv says which job, on what data, left each.
    """
    made = []
    for name, caption in PICTURES.items():
        found = ((job, path) for job in _shown(plan, store) if (path := _left(store, job, name)))
        job, source = next(found, (None, None))
        if job is None or source is None:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        picture = folder / f"{name}.png"
        update_bytes(picture, source.read_bytes())
        data = write_data(folder / f"{name}.csv", _origin(job, store, source))
        made.append(
            Figure(name, f"{caption} Left by {job.recipe.name} of {job.row}.", (picture, data))
        )
    return made


def _origin(job: Job, store: Store, picture: Path) -> pd.DataFrame:
    """Return one line: the job that left the picture, its encoder and data, and what it shows."""
    result = store.result(job)
    facts = {} if result is None else result.provenance.get("facts", {})
    line = {
        "picture": picture.name,
        "row": job.row,
        "recipe": job.recipe.name,
        "seed": job.seed,
        "key": job.key,
        "encoder": "" if job.source is None else job.source.key,
        "encoder_sha256": facts.get("encoder", {}).get("sha256", ""),
        "data": job.data_fingerprint,
        "shows": shows(picture),
    }
    return pd.DataFrame([line])


def _shown(plan: Plan, store: Store) -> Iterator[Job]:
    """Yield the finished jobs of the first MAE row, or of the first row if there is none."""
    assert plan.suite is not None
    rows = sorted(plan.suite.rows, key=lambda row: row.origin != "mae")
    for cell in plan.cells:
        if cell.row != rows[0].label:
            continue
        for job in cell.jobs:
            chain: list[Job] = [job]
            while (source := plan.source_of(chain[-1])) is not None:
                chain.append(source)
            yield from (one for one in reversed(chain) if store.result(one))


def _left(store: Store, job: Job, name: str) -> Path | None:
    """Return the picture of that name in the job's folder, None if it left none."""
    path = store.dir(job) / "figures" / f"{name}.png"
    return path if path.is_file() and not path.is_symlink() else None
