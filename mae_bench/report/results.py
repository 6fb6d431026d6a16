"""All results of a store as one long table, without a suite: the start of one's own analysis."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from mae_bench.core.job import Checkpoint, Job
from mae_bench.core.recipe import fields_of
from mae_bench.report.frame import long_frame
from mae_bench.suite.plan import Cell, Plan
from mae_bench.suite.store import Store
from mae_bench.suite.stored import rebuilt, stored_jobs

Parts = dict[str, Any]
"""Name -> value of all that decides a number beside the seeds."""


def load_results(store: str | Path) -> pd.DataFrame:
    """Return every believed result of a store: a line for each row, task, metric and seed.

    The columns are those of long.csv. A pretraining stands there as a task of its own. Results that
    were edited, or made by another version of their recipe, are left out; `mae-bench verify` names
    them. Where a store holds one row with several encoders, the row's name tells them apart; where
    it holds one task with several settings, the variant does: they never share a mean.

    Raises ValueError if there is no such folder.

    >>> results = load_results("runs")
    >>> sorted(results["task"].unique())
    ['coco_vitdet', 'imagenet_finetune', 'imagenet_linear', 'supervised']
    >>> probes = results[(results["task"] == "imagenet_linear") & (results["row"] == "MAE")]
    >>> list(zip(probes["seed"], probes["value"]))
    [(0, 60.0), (1, 63.0)]
    """
    root = Path(store)
    if not root.is_dir():
        raise ValueError(f"no store {root}; pass the folder that `mae-bench run` keeps its jobs in")
    jobs = rebuilt(stored_jobs(root)[0])
    done = [job for job in jobs.values() if Store(root).result(job) is not None]
    rows, variants = _row_names(done), _variants(done)
    cells = tuple(Cell(rows[job.key], job.recipe.name, (job,)) for job in done)
    frame = long_frame(Plan(None, tuple(jobs.values()), cells), Store(root))
    more = frame["key"].map(variants)
    joint = [", ".join(filter(None, texts)) for texts in zip(frame["variant"], more, strict=True)]
    order = ["row", "task", "variant", "seed", "key"]
    return frame.assign(variant=joint).sort_values(order, kind="stable", ignore_index=True)


def _row_names(jobs: Iterable[Job]) -> dict[str, str]:
    """Return job key -> its row's label, with what tells encoders of one label apart."""
    encoders: dict[str, dict[str, Parts]] = defaultdict(dict)
    for job in jobs:
        encoders[job.row][job.key] = _encoder(job)
    names = {}
    for label, parts in encoders.items():
        differing = _differing(parts.values())
        for key, part in parts.items():
            text = _text(part, differing)
            names[key] = f"{label} ({text})" if text else label
    return names


def _variants(jobs: Iterable[Job]) -> dict[str, str]:
    """Return job key -> the values that tell the settings of its task apart.

    A field counts where one row has several values of it: what papers chose for an encoder's kind
    differs between rows, and is no other protocol.
    """
    settings: dict[str, dict[str, dict[str, Parts]]] = defaultdict(lambda: defaultdict(dict))
    for job in jobs:
        settings[job.recipe.name][job.row][job.key] = _setting(job)
    found = {}
    for rows in settings.values():
        differing = {name for parts in rows.values() for name in _differing(parts.values())}
        for parts in rows.values():
            found.update({key: _text(part, differing) for key, part in parts.items()})
    return found


def _chain(job: Job) -> list[Job | Checkpoint]:
    """Return the job, what it starts from, and so on down to what made the encoder."""
    chain: list[Job | Checkpoint] = [job]
    while isinstance(last := chain[-1], Job) and last.source is not None:
        chain.append(last.source)
    return chain


def _encoder(job: Job) -> Parts:
    """Return what decides the encoder that the job measures or makes."""
    maker = _chain(job)[-1]
    if isinstance(maker, Checkpoint):
        return {"file": maker.key[:16]}
    return _own(maker)


def _setting(job: Job) -> Parts:
    """Return what decides the job's number beside its encoder; of tasks before it by their name."""
    tasks = [one for one in _chain(job)[:-1] if isinstance(one, Job)]
    before = {f"{one.recipe.name} {name}": v for one in tasks[1:] for name, v in _own(one).items()}
    return {**(_own(job) if tasks else {}), **before}


def _own(job: Job) -> Parts:
    """Return the fields and data of one job."""
    return {**fields_of(job.recipe), "data": job.data_fingerprint}


def _differing(parts: Iterable[Parts]) -> set[str]:
    """Return the names whose values are not the same in all; one that is absent is another."""
    parts = list(parts)
    names = {name for part in parts for name in part}
    return {name for name in names if any(part.get(name) != parts[0].get(name) for part in parts)}


def _text(part: Parts, names: Iterable[str]) -> str:
    """Return the values under those names as text."""
    return ", ".join(
        f"{name.replace('_', ' ')} {part[name]}" for name in sorted(names & part.keys())
    )
