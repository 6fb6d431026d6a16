"""What a tier, such as the published short schedules, changes in recipes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self, cast, runtime_checkable

from mae_bench.core.recipe import Recipe, build, fields_of

FULL, LITE = "full", "lite"


@runtime_checkable
class Shortened(Protocol):
    """A recipe for which a shorter schedule was published; the others are the same in lite."""

    @classmethod
    def lite(cls, arch: str, origin: str) -> Self:
        """Return it for that encoder; the docstring names the source."""
        ...


@dataclass(frozen=True)
class Tier:
    """What a tier changes in recipes."""

    name: str
    fields: Mapping[str, Mapping[str, Any]]
    """Recipe -> fields of the suite's own."""

    def of(self, recipe: Recipe, arch: str, origin: str) -> Recipe:
        """Return the recipe as it is in this tier; ValueError for wrong fields."""
        own = self.fields.get(recipe.name, {})
        short = _lite_fields(recipe, arch, origin) if self.name == LITE else {}
        return build(type(recipe), {**short, **own}, recipe)


def _lite_fields(recipe: Recipe, arch: str, origin: str) -> dict[str, Any]:
    """Return the fields of the published short schedule, none where the schedule is another's own.

    A suite that chose its own length keeps it, and so does the demo.
    """
    cls = type(recipe)
    if not isinstance(cls, Shortened):
        return {}
    published = fields_of(cls.published(arch, origin))
    short = fields_of(cast(Recipe, cls.lite(arch, origin)))
    changed = {name: value for name, value in short.items() if value != published[name]}
    now = fields_of(recipe)
    kept = all(now[name] == published[name] for name in changed)
    return changed if kept else {}
