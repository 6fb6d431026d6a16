import json
import os

import pytest

from mae_bench.core.owner import Owner, this_process
from mae_bench.core.turns import take
from mae_bench.suite.attempts import ATTEMPTS, holder
from mae_bench.suite.plan import plan
from mae_bench.suite.store import RESULT
from mae_bench.suite.stored import stored_jobs
from mae_bench.suite.suite import Column, Row, Suite
from mae_bench.suite.waste import Needs, free, orphaned

OLD = (0, 0)


def write(path, size=1000):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


@pytest.fixture
def runs(tmp_path, three):
    """Return the store of three rows, with what trainings leave in it."""
    root = tmp_path / "runs"
    for key in three.values():
        if (root / key).exists():
            write(root / key / "checkpoints" / "step-000000009-00ff.pt")
            write(root / key / "checkpoints" / "step-000000008-00ee.damaged")
            write(root / key / "facts.json.7.part")
    return root


def names(root):
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_only_what_no_job_needs_is_freed_and_only_with_yes(runs, three, call):
    before = names(runs)
    answer = call("gc")
    assert answer.code == 0
    assert "nothing was removed: pass --yes" in answer.lines[-1]
    assert names(runs) == before
    answer = call("gc", "--yes")
    assert answer.code == 0
    gone = before - names(runs)
    bad = three["Bad", "counting"]
    done = {key for (row, _), key in three.items() if row != "Bad"}
    assert gone == {
        *(f"{key}/checkpoints/step-000000009-00ff.pt" for key in done),
        *(f"{key}/checkpoints/step-000000008-00ee.damaged" for key in [*done, bad]),
        *(f"{key}/facts.json.7.part" for key in [*done, bad]),
    }
    assert answer.lines[-1] == "14 kB freed"
    assert call("gc").lines[-1] == "nothing could be freed"


def test_the_only_checkpoint_of_an_unfinished_job_stays_though_it_is_damaged(runs, three, call):
    folder = runs / three["Bad", "counting"] / "checkpoints"
    (folder / "step-000000009-00ff.pt").unlink()
    assert call("gc", "--yes").code == 0
    assert names(folder) == {"step-000000008-00ee.damaged"}


def test_nothing_of_a_living_attempt_is_freed(runs, three, call):
    here, there = runs / three["Good", "counting"], runs / three["Other", "counting"]
    take(here / ATTEMPTS, 1, this_process())
    take(there / ATTEMPTS, 1, Owner("far-node", "boot", 1, "1"))
    before = names(here), names(there)
    assert call("gc", "--suite", "demo", "--orphans", "--yes").code == 0
    assert (names(here), names(there)) == before


def test_jobs_that_no_suite_asks_for_go_only_with_orphans_and_keep_their_results(
    runs, three, call, write_suite
):
    kept = write_suite({"Good": {}}, name="kept")
    other = {recipe: runs / three["Other", recipe] for recipe in ("counting", "reading")}
    call("gc", "--suite", kept, "--yes")
    assert (other["counting"] / "encoder.safetensors").exists()
    assert call("gc", "--suite", kept, "--orphans").code == 0
    assert (other["counting"] / "encoder.safetensors").exists()
    assert call("gc", "--suite", kept, "--orphans", "--yes").code == 0
    for folder in other.values():
        assert not (folder / "steps.txt").exists()
        assert {"job.json", "log.txt", RESULT, "encoder.safetensors"} <= names(folder)
    assert not (runs / three["Bad", "counting"]).exists()  # it had no result
    assert (runs / three["Good", "counting"] / "encoder.safetensors").exists()


def test_a_result_that_appeared_since_the_listing_stays(runs, three):
    folder = runs / three["Bad", "counting"]
    (whole,) = [
        one
        for one in orphaned(stored_jobs(runs)[0], set(), Needs(frozenset(), frozenset()))
        if one.path == folder
    ]
    write(folder / RESULT)
    assert not free(whole, runs)
    assert (folder / RESULT).exists()
    assert holder(folder) is None
    (folder / RESULT).unlink()
    assert free(whole, runs)
    assert not folder.exists()


def test_orphans_are_not_told_without_the_data_that_the_suite_is_of(call, runs):
    before = names(runs)
    answer = call("gc", "--suite", "full", "--orphans", "--yes")
    assert answer.code == 2
    assert "pass --imagenet DIR" in answer.err
    assert names(runs) == before


def test_what_is_left_of_a_removed_job_goes_too(runs, call):
    removed = write(runs / "0123456789abcdef.gone" / "steps.txt")
    begun = runs / "fedcba9876543210"
    take(begun / ATTEMPTS, 0, this_process()).end("failed")
    fresh = runs / "fedcba9876543211"
    take(fresh / ATTEMPTS, 0, this_process()).end("failed")
    os.utime(begun, OLD)
    assert call("gc", "--yes").out.count("rest of a job that was removed") == 2
    assert [path.exists() for path in (removed, begun, fresh)] == [False, False, True]


def test_an_encoder_that_a_suite_names_by_its_file_stays(runs, three):
    folder = runs / three["Other", "counting"]
    row = Row("Taken", None, folder / "encoder.safetensors", "vit_smoke_patch8", "counting")
    suite = Suite("named", (row,), (Column("reading", "demo"),), (0,))
    planned = plan(suite, {})
    files = frozenset(job.source.path.resolve() for job in planned.jobs)
    found = orphaned(stored_jobs(runs)[0], set(), Needs(frozenset(), files))
    freed = {one.path for one in found}
    assert folder / "encoder.safetensors" not in freed
    assert folder / "steps.txt" in freed
    assert runs / three["Good", "counting"] / "encoder.safetensors" not in freed


def test_symbolic_links_lead_gc_nowhere(runs, three, call, tmp_path):
    outside = write(tmp_path / "outside" / "checkpoints" / "step-000000001-00aa.pt")
    folder = runs / three["Good", "counting"]
    (folder / "more").symlink_to(outside.parent.parent)
    (folder / "step-000000002-00bb.pt").symlink_to(outside)
    moved = runs / three["Good", "reading"]
    moved.rename(tmp_path / "moved")
    moved.symlink_to(tmp_path / "moved")
    (runs / "encoders").symlink_to(outside.parent.parent)
    write(outside.parent.parent / "a.part")
    os.utime(outside.parent.parent / "a.part", OLD)
    answer = call("gc", "--suite", "demo", "--orphans", "--yes")
    assert "is a symbolic link" in answer.out
    assert outside.exists()
    assert (outside.parent.parent / "a.part").exists()
    assert names(tmp_path / "moved") >= {RESULT, "checkpoints/step-000000009-00ff.pt"}


def test_what_lies_beside_the_jobs_goes_when_it_is_old_and_unused(runs, three, call):
    conversions = runs / "encoders" / "converted"
    unused, fresh, used = (write(conversions / f"{n}-v1.safetensors") for n in ("a", "b", "c"))
    named = write(runs / "encoders" / "mine.safetensors")
    half, halfway = write(conversions / "d.1.part"), write(conversions / "e.1.part")
    left = write(runs / "calibrating" / "aa" / "log.txt")
    for path in (unused, used, named, half, left):
        os.utime(path, OLD)
    job = runs / three["Good", "reading"] / "job.json"
    job.write_text(json.dumps(json.loads(job.read_text()) | {"encoder": str(used)}))
    text = call("gc", "--yes").out
    assert "conversion that no job used" in text
    assert "left by a calibration" in text
    there = {path for path in (unused, fresh, used, named, half, halfway, left) if path.exists()}
    assert there == {fresh, used, named, halfway}


def test_orphans_are_only_known_by_suites(call, runs):
    answer = call("gc", "--orphans")
    assert answer.code == 2
    assert "--orphans needs --suite" in answer.err
