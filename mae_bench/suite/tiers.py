"""Variants of one suite: full, lite with published short schedules, and those of its own file."""

import dataclasses
from contextlib import suppress

from mae_bench.core.recipe import unknown
from mae_bench.suite.plan import Plan, plan
from mae_bench.suite.suite import Row, Suite
from mae_bench.suite.tier import FULL, LITE, Tier


def at_tier(suite: Suite, name: str) -> Suite:
    """Return the suite at a tier, called SUITE-TIER; jobs that both share have the same keys.

    Raises ValueError for an unknown tier, and for one that changes nothing.
    """
    if name == FULL:
        return suite
    if name != LITE and name not in suite.tiers:
        raise ValueError(unknown(f"tier of suite {suite.name}", name, {FULL, LITE, *suite.tiers}))
    tier = Tier(name, suite.tiers.get(name, {}))
    changed = dataclasses.replace(
        suite,
        name=f"{suite.name}-{name}",
        tier=name,
        whole=suite,
        rows=tuple(_row(row, tier) for row in suite.rows),
        columns=tuple(dataclasses.replace(column, tier=tier) for column in suite.columns),
    )
    if not _differs(suite, changed):
        raise ValueError(
            f"tier {name} changes nothing in suite {suite.name}: none of its recipes has a "
            f"shorter schedule there; run it without --tier, or add [tiers.{name}.RECIPE]"
        )
    return changed


def other_tiers(planned: Plan) -> list[Plan]:
    """Return the plans of the same suite's other tiers, on the same data; those that differ."""
    assert planned.suite is not None
    whole = planned.suite.whole or planned.suite
    fingerprints = {job.recipe.dataset: job.data_fingerprint for job in planned.jobs}
    others = []
    for name in dict.fromkeys((FULL, LITE, *whole.tiers)):
        if name == planned.suite.tier:
            continue
        with suppress(ValueError):  # a tier that changes nothing there
            others.append(plan(at_tier(whole, name), fingerprints))
    return others


def _row(row: Row, tier: Tier) -> Row:
    """Return the row with its objective as in that tier."""
    if row.recipe is None:
        return row
    return dataclasses.replace(row, recipe=tier.of(row.recipe, row.arch, row.origin))


def _differs(suite: Suite, other: Suite) -> bool:
    """Return whether any recipe differs."""
    if [row.recipe for row in suite.rows] != [row.recipe for row in other.rows]:
        return True
    pairs = zip(suite.columns, other.columns, strict=True)
    return any(
        one.recipe_for(row) != two.recipe_for(row) for one, two in pairs for row in suite.rows
    )
