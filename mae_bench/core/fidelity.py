"""How far a result is from its published recipe: computed from what was run, never declared."""

from typing import Any

from mae_bench.core.recipe import Recipe, fields_of

PAPER = "paper"
DATA_SETS = {
    "imagenet": {"classes": 1000, "images": 1_281_167, "val_images": 50_000},
    "coco": {"classes": 80, "images": 118_287, "val_images": 5_000},
    "ade20k": {"classes": 150, "images": 20_210, "val_images": 2_000},
    "voc_detection": {"classes": 20, "images": 16_551, "val_images": 4_952},
    "voc_segmentation": {"classes": 21, "images": 1_464, "val_images": 1_449},
    "voc_classification": {"classes": 20, "images": 5_011, "test_images": 4_952},
}
"""Data set, or recipe that takes a part of one -> facts of what the papers trained on."""


def fidelity(recipe: Recipe, facts: dict[str, Any]) -> str | list[str]:
    """Return "paper", or each deviation from the values published for that encoder in words.

    `facts` is what the run recorded: its encoder's arch and origin, its data, and under
    `deviations` what else the recipe found to differ, such as a label subset of its own. A recipe
    whose source measured some encoders otherwise says so by `caveat(arch, origin)`.
    """
    arch, origin = _encoder(recipe, facts)
    found = []
    if arch not in recipe.published_archs:
        found.append(f"encoder {arch}: no published values for this size")
    if origin not in (recipe.name, *recipe.published_origins):
        found.append(f"encoder of origin {origin}: no published values for it")
    published = fields_of(type(recipe).published(arch, origin))
    for name, value in fields_of(recipe).items():
        if value != published[name]:
            found.append(f"{name} {_text(value)}, published {_text(published[name])}")
    expected = DATA_SETS.get(recipe.name) or DATA_SETS.get(recipe.dataset, {})
    for name, count in facts.get("data", {}).items():
        if count != expected.get(name, count):
            found.append(f"data has {count} {name}, published {expected[name]}")
    if hasattr(recipe, "caveat"):
        found += filter(None, [recipe.caveat(arch, origin)])
    for line in facts.get("resumed_from_another_configuration", []):
        found.append(f"resumed from another configuration: {line}")
    return found + list(facts.get("deviations", [])) or PAPER


def values_of(recipe: Recipe, facts: dict[str, Any]) -> str:
    """Return whose published values the recipe has, such as "vit_base_patch16, supervised".

    Sources give other values for other encoders; empty if it has those of none.
    """
    arch, origin = _encoder(recipe, facts)
    archs = sorted(recipe.published_archs, key=lambda one: one != arch)
    origins = sorted((*recipe.published_origins, recipe.name), key=lambda one: one != origin)
    for one in ((a, o) for a in archs for o in origins):
        if fields_of(type(recipe).published(*one)) == fields_of(recipe):
            return ", ".join(one)
    return ""


def _encoder(recipe: Recipe, facts: dict[str, Any]) -> tuple[str, str]:
    """Return size and origin of the encoder that was measured or made."""
    encoder = facts.get("encoder", {})
    return encoder.get("arch") or getattr(recipe, "arch", ""), encoder.get("origin") or recipe.name


def _text(value: Any) -> str:
    """Return a field's value for people."""
    if isinstance(value, list):
        return "(" + ", ".join(map(_text, value)) + ")"
    return repr(value) if value == "" else str(value)
