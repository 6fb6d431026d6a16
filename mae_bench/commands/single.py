"""One job outside a suite: pretrain one encoder, or measure one encoder on one task."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mae_bench.cli import COMMANDS, FAILED, OK, USAGE
from mae_bench.commands.options import Place, parse
from mae_bench.commands.run import prepared, run_jobs
from mae_bench.core.files import ENCODER
from mae_bench.core.job import Checkpoint, Job
from mae_bench.core.recipe import Recipe, unknown
from mae_bench.core.registry import OBJECTIVES, TASKS, load
from mae_bench.suite.preflight import single_ground
from mae_bench.suite.status import result_text
from mae_bench.suite.suite import declared


@dataclass(frozen=True)
class PretrainOptions:
    """What a pretraining job has beside its recipe."""

    seed: int = 0
    """Seed of everything random."""
    place: Place = field(default_factory=Place)


@dataclass(frozen=True, kw_only=True)
class TransferOptions:
    """What a transfer job has beside its recipe."""

    encoder: Path
    """The encoder: an encoder.safetensors, or a .pth with the reference code's names."""
    seed: int = 0
    """Seed of everything random."""
    place: Place = field(default_factory=Place)


def pretrain(words: list[str]) -> int:
    """Pretrain one encoder; return the exit code."""
    chosen = _choose("pretrain", OBJECTIVES, words)
    if isinstance(chosen, int):
        return chosen
    size, rest = _option(words[1:], "--size", "published")
    arch, _ = _option(rest, "--arch", "")
    default = _default(chosen, size, arch, chosen.name)
    options = _parse(PretrainOptions, default, f"pretrain {chosen.name}", rest)
    return _run(options["recipe"], options["rest"], None)


def transfer(words: list[str]) -> int:
    """Measure one encoder on one task; return the exit code."""
    chosen = _choose("transfer", TASKS, words)
    if isinstance(chosen, int):
        return chosen
    size, rest = _option(words[1:], "--size", "published")
    encoder, _ = _option(rest, "--encoder", "")
    arch, origin = "", "foreign"
    if encoder.endswith(".safetensors"):
        arch, origin = declared(Path(encoder), {})
    default = _default(chosen, size, arch, origin)
    options = _parse(TransferOptions, default, f"transfer {chosen.name}", rest)
    path: Path = options["rest"].encoder
    if not path.is_file():
        raise ValueError(f"no encoder file {path}; pass --encoder FILE with an existing one")
    with path.open("rb") as stream:
        source = Checkpoint(path, hashlib.file_digest(stream, "sha256").hexdigest())
    return _run(options["recipe"], options["rest"], source)


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


def _parse(kind: type, recipe: Recipe, command: str, words: list[str]) -> dict[str, Any]:
    """Return the recipe with its flags, and the other options.

    One flat dataclass of both is made, so that every field is a flag of its own name.
    """
    cls: Any = type(recipe)
    about = f"{cls.__doc__}\n\n--size demo starts from values for two CPU cores."
    both: Any = dataclasses.make_dataclass(
        "Options",
        [("recipe", cls, field(default=recipe)), ("rest", kind, _rest(kind))],
        kw_only=True,
    )
    parsed: Any = parse(both, command, words, about)
    return {"recipe": parsed.recipe, "rest": parsed.rest}


def _rest(kind: type) -> Any:
    """Return the field of the other options, with defaults where it has them."""
    required = any(
        one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
        for one in dataclasses.fields(kind)
    )
    return field() if required else field(default_factory=kind)


def _run(recipe: Recipe, options: Any, source: Checkpoint | None) -> int:
    """Run the one job in the store and say what came out."""
    label = recipe.name if source is None else source.path.name
    ground = single_ground(recipe, options.seed, source, label, options.place.read())
    (job,) = ground.plan.jobs
    code = prepared(ground)
    if code != OK:
        return code
    if run_jobs(ground, 1):
        return FAILED
    _say(ground.store.dir(job), job, ground.store.result(job))
    return OK


def _say(folder: Path, job: Job, result: Any) -> None:
    """Print the metrics and where the files are."""
    print(f"{job.recipe.name}: {result_text(job, result)}")
    encoder = folder / ENCODER
    print(f"encoder: {encoder}" if encoder.exists() else f"files: {folder}")
