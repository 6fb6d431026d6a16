import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mae_bench.core.job import Job
from mae_bench.core.registry import load
from mae_bench.suite.store import Store, sealed
from mae_bench.suite.verify import problems

PROGRAM = Path(sys.executable).with_name("mae-bench")
LABELS, TOP1 = (0, 1, 2, 3), (0, 1, 2, 0)  # three of four are right: 75 %


@pytest.fixture
def job() -> Job:
    """Return a probe of a random encoder, both at the demo's size."""
    maker = Job("Rand", load("random_init").demo(), 0, "")
    return Job("Rand", load("imagenet_linear").demo(), 0, "data", maker)


@pytest.fixture
def store(tmp_path: Path, job: Job) -> Store:
    """Return a store with the result of that job as a run leaves it, predictions beside."""
    found = Store(tmp_path / "runs")
    folder = found.prepare(job, None)
    write(folder, content(job))
    table = {"image": list("abcd"), "label": list(LABELS), "top1": list(TOP1)}
    pq.write_table(pa.table(table), folder / "predictions.parquet")
    return found


def content(job: Job) -> dict[str, Any]:
    provenance = {
        "identity": job.identity,
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T00:01:00+00:00",
        "git": "abc1234",
        "python": "3.11.0",
        "versions": {"torch": "2.11.0"},
        "device": "a processor",
        "ranks": 1,
        "facts": {},
    }
    return {
        "schema": 2,
        "key": job.key,
        "metrics": {"top1": 75.0},
        "seconds": 1.0,
        "provenance": provenance,
    }


def write(folder: Path, result: dict[str, Any]) -> None:
    (folder / "result.json").write_text(json.dumps(sealed(result)))


def found(store: Store, job: Job, planned: set[str] | None = None) -> list[tuple[str, str]]:
    return [(one.kind, one.what) for one in problems(store.dir(job), planned)]


def verify(store: Store, *words: str) -> subprocess.CompletedProcess[str]:
    command = [PROGRAM, "verify", "--store", store.root, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_a_job_left_is_sound(store: Store, job: Job) -> None:
    assert found(store, job) == [] and found(store, job, {job.key}) == []
    answer = verify(store)
    assert (answer.returncode, answer.stdout) == (0, "1 results: 1 sound\n")


def test_a_number_edited_by_hand_is_named_and_never_believed(store: Store, job: Job) -> None:
    path = store.dir(job) / "result.json"
    path.write_text(path.read_text().replace("75.0", "99.0"))
    what = "its result.json is not believed: it was changed after it was written"
    assert found(store, job) == [("wrong", what)]
    assert store.result(job) is None
    answer = verify(store)
    assert answer.returncode == 1
    assert answer.stdout.splitlines() == [
        f"wrong       {job.key}  {what}; move the folder away and run its suite again",
        "1 results: 0 sound, 1 wrong",
    ]


def test_a_number_edited_and_sealed_anew_is_found_by_its_predictions(
    store: Store, job: Job
) -> None:
    write(store.dir(job), content(job) | {"metrics": {"top1": 99.0}})
    assert found(store, job) == []
    told = json.loads(verify(store, "--json").stdout)
    assert [one["what"] for one in told["problems"]] == [
        "predictions.parquet gives top1 75.000000, the result says 99.000000"
    ]
    assert (told["results"], told["problems"][0]["folder"]) == (1, job.key)


@pytest.mark.parametrize(
    ("text", "why"),
    [("{", "it is not whole JSON"), ('{"schema": 3}', "it has schema 3")],
)
def test_a_broken_result_is_named(store: Store, job: Job, text: str, why: str) -> None:
    (store.dir(job) / "result.json").write_text(text)
    ((kind, what),) = found(store, job)
    assert kind == "wrong" and why in what


def test_a_result_of_other_fields_is_not_that_of_the_job(store: Store, job: Job) -> None:
    other = content(job)
    other["provenance"]["identity"]["fields"]["epochs"] = 77
    write(store.dir(job), other)
    ((kind, what),) = found(store, job)
    assert kind == "wrong" and "what it says that was run is job" in what
    assert store.result(job) is None


def edited_job(store: Store, job: Job, change: Callable[[dict[str, Any]], None]) -> None:
    path = store.dir(job) / "job.json"
    read = json.loads(path.read_text())
    change(read)
    path.write_text(json.dumps(read))


def test_fields_beside_the_identity_must_agree_with_it(store: Store, job: Job) -> None:
    edited_job(store, job, lambda read: read["fields"].update(epochs=77))
    assert found(store, job) == [
        ("wrong", "the fields in its job.json are not those of its identity")
    ]


def test_an_edited_identity_no_longer_gives_the_key(store: Store, job: Job) -> None:
    edited_job(store, job, lambda read: read["identity"].update(seed=5))
    whats = [what for _, what in found(store, job)]
    assert any("its identity gives" in what for what in whats)
    assert "the seed in its job.json is 0, in its identity 5" in whats


def test_a_copy_under_another_name_is_named(store: Store, job: Job) -> None:
    copy = store.root / "0123456789abcdef"
    shutil.copytree(store.dir(job), copy)
    kinds = {one.kind for one in problems(copy)}
    assert kinds == {"wrong"} and found(store, job) == []


def test_a_result_without_provenance_is_incomplete(store: Store, job: Job) -> None:
    bare = content(job)
    for name in ("device", "versions"):
        del bare["provenance"][name]
    write(store.dir(job), bare)
    assert found(store, job) == [("incomplete", "its provenance lacks versions, device")]
    assert verify(store).returncode == 1


def test_another_encoder_than_was_measured_is_named(store: Store, job: Job) -> None:
    assert isinstance(job.source, Job)
    made = content(job)
    # from: printf weights | sha256sum
    digest = "9a129038d9a00aed"
    made["provenance"]["facts"] = {"encoder": {"sha256": digest + "0" * 48}}
    write(store.dir(job), made)
    assert found(store, job) == []  # the encoder was not kept: nothing to compare with
    folder = store.dir(job.source)
    folder.mkdir()
    (folder / "encoder.safetensors").write_bytes(b"weights")
    what = f"{job.source.key}/encoder.safetensors is {digest}, the result is of {digest}"
    assert found(store, job) == [("wrong", what)]


def test_an_orphan_is_named_but_nothing_is_wrong_with_it(store: Store, job: Job) -> None:
    assert found(store, job, {"another"}) == [("orphaned", "no suite given asks for it")]
    answer = verify(store, "--suite", "smoke")
    assert (answer.returncode, answer.stdout.splitlines()[-1]) == (
        0,
        "1 results: 0 sound, 1 orphaned",
    )


def test_a_result_of_another_version_is_an_orphan(
    store: Store, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = type(job.recipe).version
    monkeypatch.setattr(type(job.recipe), "version", now + 1)
    ((kind, what),) = found(store, job)
    assert kind == "orphaned"
    assert what == f"imagenet_linear has version {now + 1} here, it was made by version {now}"


def test_a_folder_that_tells_nothing_of_its_job_is_wrong(store: Store, job: Job) -> None:
    (store.dir(job) / "job.json").unlink()
    ((kind, what),) = found(store, job)
    assert kind == "wrong" and "it has no job.json" in what


def test_a_result_whose_seal_was_taken_off_is_named(store: Store, job: Job) -> None:
    bare = content(job) | {"schema": 1, "metrics": {"top1": 99.0}}
    (store.dir(job) / "result.json").write_text(json.dumps(bare))
    assert found(store, job) == [
        ("incomplete", "its result.json has no seal, so that a change of it would not show")
    ]


@pytest.mark.parametrize(
    "change", [lambda one: one.pop("source"), lambda one: one.update(source=5)]
)
def test_an_identity_without_a_source_to_look_for_is_named(
    store: Store, job: Job, change: Callable[[dict[str, Any]], Any]
) -> None:
    made = content(job)
    made["provenance"]["facts"] = {"encoder": {"sha256": "0" * 64}}
    write(store.dir(job), made)
    edited_job(store, job, lambda read: change(read["identity"]))
    ((kind, what),) = found(store, job)
    assert kind == "wrong" and "its identity gives" in what
