"""Whether COCO's polygons and run lengths can be drawn."""

import math
from typing import Any

Size = tuple[int | float, int | float]
"""Width and height of an image."""
Finding = tuple[str, str, bool]
"""Kind, what was found, and whether it is fatal."""
MALFORMED = "malformed outlines"
LEAST, MOST = 48, 111
"""Codes of the characters of compressed run lengths: six bits from '0' on."""


def outline_fault(outline: Any, size: Size) -> Finding | None:
    """Return what is wrong with the segmentation of an annotation; None if it can be drawn."""
    if not outline:
        return "annotations without an outline", "an empty segmentation", True
    if isinstance(outline, dict):
        return _run_length_fault(outline, size)
    if not isinstance(outline, list):
        return MALFORMED, f"a segmentation of type {type(outline).__name__}", True
    for polygon in outline:
        if not _is_polygon(polygon):
            return MALFORMED, f"the polygon {str(polygon)[:60]}", True
    if all(len(polygon) < 6 for polygon in outline):
        return "outlines of fewer than three points", f"{len(outline)} polygons", False
    return None


def _is_polygon(polygon: Any) -> bool:
    """Return whether it is a list of pairs of finite numbers."""
    try:
        return (
            isinstance(polygon, list) and len(polygon) % 2 == 0 and all(map(math.isfinite, polygon))
        )
    except TypeError:
        return False


def _run_length_fault(outline: dict[str, Any], size: Size) -> Finding | None:
    """Return what is wrong with run lengths {size: [height, width], counts}."""
    own, counts = outline.get("size"), outline.get("counts")
    if not isinstance(own, list) or not isinstance(counts, (list, str)):
        return MALFORMED, f"run lengths with {', '.join(map(str, outline)) or 'nothing'}", True
    if tuple(own) != (size[1], size[0]):
        found = f"a mask of height and width {own} in {size[0]} x {size[1]} pixels"
        return "masks of another size than their image", found, True
    try:
        runs = counts if isinstance(counts, list) else unpacked(counts)
        whole = sum(runs) == size[0] * size[1] and min(runs, default=-1) >= 0
    except (TypeError, ValueError):
        whole = False
    if not whole:
        return MALFORMED, "run lengths that do not add up to its pixels", True
    return None


def unpacked(counts: str) -> list[int]:
    """Return the run lengths in a compressed string of COCO's API.

    Each number is dealt into groups of five bits, the lowest first, with a sixth that says whether
    another follows; from the fourth on numbers are differences to the one two before. Raises
    ValueError if the string ends within a number or has other characters.
    """
    runs: list[int] = []
    value = shift = 0
    for code in counts.encode():
        if not LEAST <= code <= MOST:
            raise ValueError(f"{chr(code)!r} is no character of run lengths")
        bits = code - LEAST
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:  # the sign of the last group
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("the run lengths end within a number")
    return runs
