"""A job is a recipe, a seed and a source encoder; its name on disk is the hash of those."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mae_bench.core.recipe import Recipe, hashed_fields_of


@dataclass(frozen=True)
class Checkpoint:
    """An encoder made elsewhere, known by its bytes."""

    path: Path
    sha256: str

    @property
    def key(self) -> str:
        """The hash of the file's bytes: the path never changes a number."""
        return self.sha256


@dataclass(frozen=True)
class Job:
    """One recipe to run once. `row` is a label for people and no part of the identity."""

    row: str
    recipe: Recipe
    seed: int
    data_fingerprint: str
    source: "Job | Checkpoint | None" = None

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the job's numbers, JSON-ready."""
        return {
            "recipe": self.recipe.name,
            "version": self.recipe.version,
            "fields": hashed_fields_of(self.recipe),
            "seed": self.seed,
            "data": self.data_fingerprint,
            "source": None if self.source is None else self.source.key,
        }

    @cached_property
    def key(self) -> str:
        """The hash of the identity."""
        return key_of(self.identity)


def key_of(identity: Mapping[str, Any]) -> str:
    """Return the first 16 hex digits of the SHA-256 of the identity's canonical JSON."""
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Result:
    """What a finished job leaves: its existence on disk means done."""

    key: str
    metrics: dict[str, float]
    seconds: float
    """Wall time over all attempts."""
    provenance: dict[str, Any] = field(default_factory=dict)
    fidelity: str | tuple[str, ...] = ()
    """"paper", or what deviates from the published recipe; empty if it was not noted."""
