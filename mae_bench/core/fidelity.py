"""How far a result is from its published recipe: computed from what was run, never declared."""

from typing import Any

from mae_bench.core.recipe import Recipe, fields_of

PAPER = "paper"
DATA_SETS = {
    "imagenet": {"classes": 1000, "images": 1_281_167, "val_images": 50_000},
    "coco": {"classes": 80, "images": 118_287, "val_images": 5_000},
    "ade20k": {"classes": 150, "images": 20_210, "val_images": 2_000},
}
"""Data set -> facts of the one that the papers trained on."""


def fidelity(recipe: Recipe, facts: dict[str, Any]) -> str | list[str]:
    """Return "paper", or each deviation from the values published for that encoder in words.

    `facts` is what the run recorded: its encoder's arch and origin, its data, and under
    `deviations` what else the recipe found to differ, such as a label subset of its own.
    """
    encoder = facts.get("encoder", {})
    arch = encoder.get("arch") or getattr(recipe, "arch", "")
    origin = encoder.get("origin") or recipe.name
    found = []
    if arch not in recipe.published_archs:
        found.append(f"encoder {arch}: no published values for this size")
    if origin not in (recipe.name, *recipe.published_origins):
        found.append(f"encoder of origin {origin}: no published values for it")
    published = fields_of(type(recipe).published(arch, origin))
    for name, value in fields_of(recipe).items():
        if value != published[name]:
            found.append(f"{name} {_text(value)}, published {_text(published[name])}")
    expected = DATA_SETS.get(recipe.dataset, {})
    for name, count in facts.get("data", {}).items():
        if count != expected.get(name, count):
            found.append(f"data has {count} {name}, published {expected[name]}")
    return found + list(facts.get("deviations", [])) or PAPER


def _text(value: Any) -> str:
    """Return a field's value for people."""
    if isinstance(value, list):
        return "(" + ", ".join(map(_text, value)) + ")"
    return repr(value) if value == "" else str(value)
