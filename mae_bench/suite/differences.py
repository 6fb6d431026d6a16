"""What tells two jobs apart: field by field, and down to what their encoders were made with."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mae_bench.suite.stored import StoredJob

Identity = Mapping[str, Any]
"""What decides a job's numbers: recipe, version, fields, seed, data, source."""
Lookup = Callable[[str], Identity | None]
"""Key of a job -> its identity, None if it is not known."""


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same in two jobs."""

    what: str
    then: Any
    now: Any

    def text(self, there: str) -> str:
        """Return it as a sentence; `there` says where the other value is from."""
        return f"{self.what}: {_shown(self.then)} in {there}, {_shown(self.now)} now"


def differences(then: Identity, now: Identity, lookup: Lookup) -> list[Difference]:
    """Return what differs in order of weight: version, fields, data, the encoder, the seed.

    Where the encoders are of different jobs that are known, what differs in those follows.
    """
    name = str(now["recipe"])
    pairs = [(f"{name}.version", then["version"], now["version"])]
    fields = dict.fromkeys([*now["fields"], *then["fields"]])
    absent = "left out (as before there was the field)"
    pairs += [
        (f"{name}.{field}", then["fields"].get(field, absent), now["fields"].get(field, absent))
        for field in fields
    ]
    pairs += [("fingerprint of the data", then["data"], now["data"])]
    found = [Difference(*pair) for pair in pairs if pair[1] != pair[2]]
    found += _of_sources(then["source"], now["source"], lookup)
    if then["seed"] != now["seed"]:
        found.append(Difference("seed", then["seed"], now["seed"]))
    return found


def nearest(
    identity: Identity, row: str, jobs: Iterable[StoredJob], lookup: Lookup
) -> tuple[StoredJob, list[Difference]] | None:
    """Return the finished job of the same recipe that differs least, with what differs.

    One of the same row is nearer than any other. None if no job of the recipe is finished.
    """
    found = [
        (job, differences(job.content["identity"], identity, lookup))
        for job in jobs
        if job.result is not None and job.name == identity["recipe"]
    ]
    return min(found, key=lambda one: (one[0].row != row, len(one[1]), one[0].key), default=None)


def _of_sources(then: str | None, now: str | None, lookup: Lookup) -> Iterator[Difference]:
    """Yield that the encoders differ, and what makes them differ."""
    if then == now:
        return
    before, after = (lookup(key) if key else None for key in (then, now))
    yield Difference("encoder", _source(then, before), _source(now, after))
    if before is not None and after is not None and before["recipe"] == after["recipe"]:
        yield from differences(before, after, lookup)


def _source(key: str | None, identity: Identity | None) -> str:
    """Return what an encoder comes from."""
    if key is None:
        return "none"
    return f"{identity['recipe']} {key[:8]}" if identity else f"file or job {key[:16]}"


def _shown(value: Any) -> str:
    """Return a value for people; long hashes are cut."""
    text = str(value)
    return f"{text[:16]}…" if len(text) == 64 else text or "''"
