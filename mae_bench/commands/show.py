"""One job for people: what it is, how it went, and where its numbers and pictures are."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from mae_bench.cli import OK
from mae_bench.commands.options import Place, parse
from mae_bench.core.files import CLASSIFIER, ENCODER, FACTS, METRICS, last_progress
from mae_bench.kit.figures import FIGURES, UNDRAWN, shows
from mae_bench.suite.finding import find_job
from mae_bench.suite.flaws import flaws_of
from mae_bench.suite.store import FAILURE, LOG, RESULT
from mae_bench.suite.stored import StoredJob
from mae_bench.suite.wording import (
    duration,
    fidelity_lines,
    metric_texts,
    training_text,
    values_text,
)

FILES = {
    "config.yaml": "the model and all else as the toolbox took it",
    "config.py": "the model and all else as the toolbox took it",
    RESULT: "the metrics, how they came about, and what deviates from the papers",
    LOG: "what the job printed",
    FAILURE: "why there is no result",
    METRICS: "steps, losses and rates, a line about each second",
    FACTS: "what the job noted of its encoder, data, training and scores",
    "predictions.json": "every detection, in COCO's result format",
    "matches.parquet": "which detection found an object, image by image",
    "scores": "what each class's classifier says of the test images",
    "predictions.parquet": "every test image with what was predicted",
    "predictions": "what was predicted, a file each image or class",
    "per_image.parquet": "pixels of each class in each test image: found, true, both",
    "model_final.pth": "the last weights, as detectron2 keeps them",
    "iter_*.pth": "the last weights, as mmengine keeps them",
    ENCODER: "the encoder, for transfer",
    CLASSIFIER: "the fine-tuned model, for the tasks that come after",
    "checkpoints": "states to continue from",
    "tensorboard": "curves for TensorBoard",
    "trackers": "how far each tracker was told, and what it printed",
}
"""Files that are for reading -> what is in them."""
WIDTH = 100
MOST_ENTRIES = 12
"""A longer table in the facts, such as a number for each class, is only counted."""


@dataclass(frozen=True)
class ShowOptions:
    """Which job, and how it is printed."""

    job: tyro.conf.Positional[tuple[str, ...]]
    """A job's folder; its key in the store or the beginning of it; or words of its row, recipe and
    state that only one job has, such as: MAE coco_vitdet."""
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print everything as JSON instead."""
    place: Place = field(default_factory=Place)


def show(words: list[str]) -> int:
    """Print what a job's folder tells; return the exit code."""
    about = "Say what one job is, how it went, and where its numbers and pictures are."
    options = parse(ShowOptions, "show", words, about)
    if not options.job:
        raise ValueError(
            "show needs a job: mae-bench show FOLDER, KEY or words such as coco_vitdet"
        )
    job = find_job(options.job, options.place.read().store)
    if options.as_json:
        print(json.dumps(told(job), indent=2, allow_nan=False))
    else:
        print("\n".join(lines(job)))
    return OK


def told(job: StoredJob) -> dict[str, Any]:
    """Return all that is known of the job, JSON-ready."""
    result, facts, identity = job.result, facts_of(job.folder), job.content["identity"]
    files = {name: {"path": str(job.folder / name), "what": what} for name, what in _files(job)}
    figures = {path.name: {"path": str(path), "shows": shows(path)} for path in _figures(job)}
    outcome = {
        "metrics": result.metrics if result else {},
        "values": values_text(result) if result else None,
        "fidelity": result.fidelity if result else None,
        "seconds": result.seconds if result else None,
        "made_with": _surroundings(result.provenance) if result else {},
    }
    return {
        "key": job.key,
        "folder": str(job.folder),
        "recipe": {"name": job.name, "version": identity["version"], **job.content["fields"]},
        "row": job.row,
        "seed": job.seed,
        "encoder": job.content["encoder"],
        "data": {"folder": job.content["data"], "fingerprint": identity["data"]},
        "state": {"name": job.state.name, "reason": job.state.reason},
        **outcome,
        "progress": last_progress(job.folder),
        "facts": facts,
        "files": files,
        "figures": figures,
        UNDRAWN: facts.get(UNDRAWN, {}),
    }


def lines(job: StoredJob) -> Iterator[str]:
    """Yield what is known of the job, for people."""
    yield f"{job.name} of {job.row}, seed {job.seed} ({job.key})"
    yield from _entry("state", _state(job))
    if job.result:
        pairs = metric_texts(job.recipe.metrics, job.result)
        yield from _entry("metrics", ", ".join(" ".join(pair) for pair in pairs))
        yield from _entry("values", values_text(job.result))
        first, *deviations = fidelity_lines(job.result)
        yield from _entry("fidelity", first)
        for deviation in deviations:
            yield from _entry("", deviation)
        for flaw in flaws_of(job.result.provenance):
            yield from _entry("flaw", str(flaw))
    yield ""
    facts = facts_of(job.folder)
    fields = job.content["fields"]
    yield from _entry("recipe", _table({"version": job.content["identity"]["version"], **fields}))
    source = job.content["encoder"]
    yield from _entry("encoder", ": ".join(filter(None, [source, _table(facts.get("encoder"))])))
    data = [job.content["data"], _table(facts.get("data"))]
    yield from _entry("data", ": ".join(filter(None, data)))
    for name, value in facts.items():
        if value and name not in ("encoder", "data", UNDRAWN):
            yield from _entry(name, _text(value))
    if job.result:
        yield from _entry("made with", _text(_surroundings(job.result.provenance)))
    yield ""
    yield f"files in {job.folder}:"
    yield from (f"  {name:22} {what}" for name, what in _files(job))
    yield from _pictures(job, facts)


def facts_of(folder: Path) -> dict[str, Any]:
    """Return what the job noted so far; nothing if there is none that can be read."""
    try:
        facts = json.loads((folder / FACTS).read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _state(job: StoredJob) -> str:
    """Return the state with how far it is, or how long it took."""
    if job.result:
        finished = str(job.result.provenance.get("finished", "")).replace("T", " ")
        return f"done in {duration(job.result.seconds)}, {finished}"
    words = {"partial": "stopped before the end; the same command continues it"}
    text = words.get(job.state.name, job.state.name)
    reason = f": {job.state.reason}" if job.state.reason else ""
    line = last_progress(job.folder)
    if line is None:
        return f"{text}{reason}; no step is logged"
    far = f"step {line.get('step')} of {line.get('steps')}"
    evaluated = f"evaluating {line['evaluated']}" if "evaluated" in line else ""
    return f"{text}{reason}; " + ", ".join(filter(None, [far, training_text(line), evaluated]))


def _files(job: StoredJob) -> Iterator[tuple[str, str]]:
    """Yield the names of the files for reading that are there, with what is in them."""
    return ((path.name, what) for name, what in FILES.items() for path in job.folder.glob(name))


def _figures(job: StoredJob) -> list[Path]:
    """Return the job's pictures."""
    return sorted((job.folder / FIGURES).glob("*.png"))


def _pictures(job: StoredJob, facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each picture, and for each that could not be drawn."""
    paths, undrawn = _figures(job), facts.get(UNDRAWN, {})
    if paths or undrawn:
        yield f"figures in {job.folder / FIGURES}:"
    for path in paths:
        yield f"  {path.name:24} {shows(path)}".rstrip()
    for name, reason in undrawn.items():
        yield f"  {name:24} could not be drawn: {reason}"


def _surroundings(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the device and versions that the job ran with."""
    names = ("device", "git", "python")
    some = {name: provenance[name] for name in names if provenance.get(name)}
    return some | provenance.get("versions", {})


def _entry(name: str, text: str) -> Iterator[str]:
    """Yield a name and its text, wrapped."""
    return iter(
        textwrap.wrap(
            text or "none",
            WIDTH,
            initial_indent=f"{name:10} ",
            subsequent_indent=11 * " ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def _table(values: Any) -> str:
    """Return a table's entries in a line; nothing for what is none."""
    if not isinstance(values, dict):
        return ""
    return ", ".join(f"{name} {_text(value)}" for name, value in values.items())


def _text(value: Any) -> str:
    """Return a value for people; long tables are counted, digests and numbers cut."""
    if isinstance(value, dict):
        return _table(value) if len(value) <= MOST_ENTRIES else f"{len(value)} entries"
    if isinstance(value, list):
        inner = ", ".join(map(_text, value))
        return f"({inner})" if len(value) <= MOST_ENTRIES else f"{len(value)} entries"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str) and len(value) == 64 and not value.strip("0123456789abcdef"):
        return value[:16]
    return "''" if value == "" else str(value)
