"""What there is: recipes, suites, encoder sizes."""

from dataclasses import dataclass

from mae_bench.cli import OK
from mae_bench.commands.options import parse
from mae_bench.core.registry import OBJECTIVES, TASKS, load
from mae_bench.kit.archs import ARCHS
from mae_bench.suite.presets import PRESETS


@dataclass(frozen=True)
class ListOptions:
    """List recipes, suites and encoder sizes."""


def show(words: list[str]) -> int:
    """Print every recipe, preset suite and encoder size; return the exit code."""
    parse(ListOptions, "list", words, ListOptions.__doc__ or "")
    for title, registry in (("objectives (pretrain)", OBJECTIVES), ("tasks (transfer)", TASKS)):
        print(f"{title}:")
        for name in registry:
            print(f"  {name:20} {_first_line(load(name))}")
    print("suites (run --suite):")
    for name, preset in PRESETS.items():
        print(f"  {name:20} {_first_line(preset).removeprefix('Return ')}")
    print("encoder sizes (--arch):")
    for name, arch in ARCHS.items():
        shape = f"width {arch.width}, depth {arch.depth}, heads {arch.heads}"
        print(f"  {name:20} {shape}, patch {arch.patch_size}")
    return OK


def _first_line(thing: object) -> str:
    """Return the first line of a docstring."""
    return (thing.__doc__ or "").splitlines()[0]
