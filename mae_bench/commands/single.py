"""One job outside a suite: pretrain one encoder, or measure one encoder on one task."""

import dataclasses
import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from mae_bench.cli import COMMANDS, FAILED, OK, USAGE
from mae_bench.commands.options import Place, parse
from mae_bench.commands.ranks import check_compute, in_ranks, run_in_ranks
from mae_bench.commands.run import enough_gpus, prepared, run_jobs
from mae_bench.core.compute import Compute
from mae_bench.core.files import CLASSIFIER, ENCODER
from mae_bench.core.job import Checkpoint, Job
from mae_bench.core.recipe import Recipe, unknown
from mae_bench.core.registry import OBJECTIVES, TASKS, load
from mae_bench.core.site import Site
from mae_bench.suite.encoders import classifier_spec, find_encoder, spec_in
from mae_bench.suite.preflight import single_ground
from mae_bench.suite.wording import fidelity_lines, result_text, values_text


@dataclass(frozen=True)
class PretrainOptions:
    """What a pretraining job has beside its recipe."""

    seed: int = 0
    """Seed of everything random."""
    compute: Compute = field(default_factory=Compute)
    place: Place = field(default_factory=Place)


@dataclass(frozen=True, kw_only=True)
class TransferOptions:
    """What a transfer job has beside its recipe."""

    encoder: str
    """A checkpoint file of any known format, a name that `encoders add` gave, or timm:/hf:NAME; for
    tasks that measure fine-tuned weights the classifier.safetensors in the fine-tuning's folder."""
    seed: int = 0
    """Seed of everything random."""
    compute: Compute = field(default_factory=Compute)
    place: Place = field(default_factory=Place)


def pretrain(words: list[str]) -> int:
    """Pretrain one encoder; return the exit code."""
    chosen = _choose("pretrain", OBJECTIVES, words)
    if isinstance(chosen, int):
        return chosen
    size, rest = _option(words[1:], "--size", "published")
    arch, _ = _option(rest, "--arch", "")
    default = _default(chosen, size, arch, chosen.name)
    job = PretrainOptions(compute=_site(rest).compute)
    recipe, options = _parse(default, job, f"pretrain {chosen.name}", rest)
    return _run(recipe, options, None)


def transfer(words: list[str]) -> int:
    """Measure one encoder on one task; return the exit code."""
    chosen = _choose("transfer", TASKS, words)
    if isinstance(chosen, int):
        return chosen
    size, rest = _option(words[1:], "--size", "published")
    encoder, _ = _option(rest, "--encoder", "")
    if chosen.after and encoder:
        path = Path(encoder)
        spec = classifier_spec(path, chosen.after)
    else:
        path = find_encoder(encoder, _site(rest).store, say=print) if encoder else Path()
        spec = spec_in(path) or {}
    default = _default(chosen, size, spec.get("arch", ""), spec.get("origin", "foreign"))
    job = TransferOptions(encoder=tyro.MISSING, compute=_site(rest).compute)
    recipe, options = _parse(default, job, f"transfer {chosen.name}", rest)
    with path.open("rb") as stream:
        source = Checkpoint(path, hashlib.file_digest(stream, "sha256").hexdigest())
    return _run(recipe, options, source)


def _choose(command: str, known: Mapping[str, str], words: list[str]) -> type[Recipe] | int:
    """Return the recipe class that the first word names, or an exit code after saying more."""
    if not words or words[0] in ("-h", "--help"):
        names = ", ".join(known)
        print(f"usage: mae-bench {command} RECIPE [--size published|demo] [--field value ...]\n")
        print(f"RECIPE is one of {names}; `mae-bench {command} RECIPE --help` lists its fields.\n")
        print(f"Example: {COMMANDS[command].example}")
        return OK if words else USAGE
    if words[0] not in known:
        raise ValueError(unknown(f"recipe to {command}", words[0], known))
    return load(words[0])


def _default(cls: type[Recipe], size: str, arch: str, origin: str) -> Recipe:
    """Return the values that flags start from."""
    if size not in ("published", "demo"):
        raise ValueError(f"--size must be published or demo, got {size!r}")
    if size == "demo":
        return cls.demo()
    return cls.published(arch, origin) if arch else cls()


def _option(words: list[str], name: str, default: str) -> tuple[str, list[str]]:
    """Return an option's value and the words without it."""
    for i, word in enumerate(words):
        if word == name and i + 1 < len(words):
            return words[i + 1], words[:i] + words[i + 2 :]
        if word.startswith(name + "="):
            return word.partition("=")[2], words[:i] + words[i + 1 :]
    return default, words


def _parse(recipe: Recipe, job: Any, command: str, words: list[str]) -> tuple[Recipe, Any]:
    """Return the recipe and the job's other options as the flags set them.

    One class of both is made, so that every field is a flag of its own name.
    """
    about = f"{inspect.cleandoc(type(recipe).__doc__ or '')}\n\n"
    fields = [
        (name, type(one), field(default=one)) for name, one in (("recipe", recipe), ("job", job))
    ]
    both: Any = dataclasses.make_dataclass("Options", fields, kw_only=True)
    parsed: Any = parse(both, command, words, about + "--size demo: values for two CPU cores.")
    return parsed.recipe, parsed.job


def _site(words: list[str]) -> Site:
    """Return the site file's facts and the store, which the other flags are put over."""
    site, store = (_option(words, name, "")[0] for name in ("--site", "--store"))
    return Place(Path(site) if site else None, Path(store) if store else None).read()


def _run(recipe: Recipe, options: Any, source: Checkpoint | None) -> int:
    """Run the one job in the store and say what came out."""
    label = recipe.name if source is None else source.path.name
    check_compute(recipe, options.compute)
    site = dataclasses.replace(options.place.read(), compute=options.compute)
    ground = single_ground(recipe, options.seed, source, label, site)
    (job,) = ground.plan.jobs
    if in_ranks():
        return run_in_ranks(ground, job)
    code = prepared(ground) or enough_gpus(options.compute)
    if code != OK:
        return code
    if run_jobs(ground, 1):
        return FAILED
    _say(ground.store.dir(job), job, ground.store.result(job))
    return OK


def _say(folder: Path, job: Job, result: Any) -> None:
    """Print the metrics and where the files are."""
    print(f"{job.recipe.name}: {result_text(job, result)}")
    print(f"values: {values_text(result)}")
    print("fidelity: " + "\n  ".join(fidelity_lines(result)))
    left = [folder / name for name in (ENCODER, CLASSIFIER) if (folder / name).exists()]
    for path in left:
        print(f"{path.stem}: {path}")
    if not left:
        print(f"files: {folder}")
