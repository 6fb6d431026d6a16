import dataclasses
from importlib import metadata

import pytest

from mae_bench.core.files import write_json
from mae_bench.core.owner import Owner, this_process
from mae_bench.core.registry import load
from mae_bench.core.turns import take
from mae_bench.suite.attempts import ATTEMPTS
from mae_bench.suite.store import FAILURE, LOG, RESULT, sealed


@pytest.fixture
def suite(tmp_path, three):
    """Return the suite file of that store."""
    return tmp_path / "trial.toml"


def test_a_cached_job_says_which_result_and_that_nothing_differs(three, suite, call):
    text = call("explain", "Good", "reading", "--suite", suite).out
    assert text.startswith(f"reading of Good (seed 0): done  ({three['Good', 'reading']})")
    assert "it has its result, of 20" in text
    assert "the same as here" in text
    assert "the suite trial asks for it" in text
    assert "attempt 1: done at 20" in text
    assert "nearest result" not in text


def test_other_versions_than_those_installed_are_named(three, call, tmp_path, read_json):
    folder = tmp_path / "runs" / three["Good", "reading"]
    content = read_json(folder / RESULT)
    content["provenance"]["versions"] |= {"torch": "1.0", "mae-bench": "0.0.1"}
    write_json(folder / RESULT, sealed({k: v for k, v in content.items() if k != "seal"}))
    text = call("explain", folder.name).out
    assert "other versions: mae-bench 0.0.1 then, " in text
    assert "torch 1.0 then, " in text
    assert "(they do not change the key)" in text


def test_a_job_that_would_run_again_names_the_field_that_differs(three, call, write_suite):
    old = three["Good", "reading"]
    now = write_suite({"Good": {}}, {"reading": {"steps": 4}}, name="now")
    lines = call("explain", "reading", "--suite", now).lines
    assert f"  nearest result: {old}; of another key, since" in lines
    assert f"    reading.steps: 5 in the result of {old[:8]}, 4 now" in lines
    lines = call("explain", old, "--suite", now).lines
    assert any(line.startswith("  the suite now does not ask for it, but for ") for line in lines)
    assert "    reading.steps: 5 in this job, 4 now" in lines


def test_what_differs_in_the_encoder_is_followed_to_its_own_field(three, call, write_suite):
    now = write_suite({"Good": {"steps": 7}}, name="now")
    lines = call("explain", "reading", "--suite", now).lines
    old, encoder = three["Good", "reading"][:8], three["Good", "counting"][:8]
    (source,) = [line for line in lines if line.startswith("    encoder: ")]
    assert f"counting {encoder} in the result of {old}, counting " in source
    assert f"    counting.steps: 5 in the result of {old}, 7 now" in lines


def test_a_raised_version_is_the_first_thing_that_differs(three, suite, call, monkeypatch):
    old = three["Good", "reading"]
    monkeypatch.setattr(load("reading"), "version", 2)
    lines = call("explain", "Good", "reading", "--suite", suite).lines
    since = lines.index(f"  nearest result: {old}; of another key, since")
    assert lines[since + 1] == f"    reading.version: 1 in the result of {old[:8]}, 2 now"
    text = call("explain", old).out
    assert "the recipe is at version 2 now, this is 1: no suite asks for it" in text


def test_a_job_of_the_same_row_is_nearer_than_one_that_differs_less(three, call, write_suite):
    now = write_suite({"Other": {"pause_at": 9}, "Fresh": {"pause_at": 8}}, name="now")
    text = call("explain", "Other", "counting", "--suite", now).out
    assert f"nearest result: {three['Other', 'counting']}; of another key" in text
    text = call("explain", "Fresh", "counting", "--suite", now).out
    assert f"nearest result: {three['Good', 'counting']} (row Good); of another key" in text


def test_a_blocked_job_is_followed_down_to_the_cause_and_its_log(three, suite, call, tmp_path):
    text = call("explain", "Bad", "reading", "--suite", suite).out
    maker = three["Bad", "counting"]
    assert f"needs counting of Bad (seed 0) ({maker[:8]}), failed: ValueError: it went" in text
    assert f"the end of {tmp_path / 'runs' / maker / LOG}:" in text
    assert "    ValueError: it went wrong on purpose" in text
    text = call("explain", maker[:6]).out
    assert "why: ValueError: it went wrong on purpose" in text
    assert "attempt 1: failed at" in text
    assert f"mae-bench retry {maker[:8]}" in text


def test_a_changed_result_is_said_not_to_be_believed(three, suite, call, tmp_path, read_json):
    folder = tmp_path / "runs" / three["Good", "reading"]
    content = read_json(folder / RESULT)
    write_json(folder / RESULT, content | {"metrics": {"score": 99.0}})
    text = call("explain", folder.name, "--suite", suite).out
    assert "interrupted" in text
    assert "its result.json is not believed: it was changed after it was written" in text
    call("report", "--suite", suite, "--results", tmp_path / "results")
    board = (tmp_path / "results" / "trial" / "leaderboard.md").read_text()
    assert "99.0" not in board
    assert "it was changed after it was written" in board


def test_a_table_of_real_results_names_the_row_of_another_version(
    three, suite, call, tmp_path, read_json
):
    for recipe in ("counting", "reading"):
        path = tmp_path / "runs" / three["Other", recipe] / RESULT
        content = read_json(path)
        content["provenance"]["versions"]["torch"] = "1.0"
        write_json(path, sealed({k: v for k, v in content.items() if k != "seal"}))
    answer = call("report", "--suite", suite, "--results", tmp_path / "results")
    (line,) = [line for line in answer.lines if line.startswith("Mixed versions:")]
    assert line == f"Mixed versions: torch 1.0 for Other, {metadata.version('torch')} elsewhere."


def test_what_attempts_there_were_is_told(build_suite, ground_of, call):
    ground = ground_of(build_suite())
    folder = ground.store.prepare(ground.plan.jobs[0], None)
    gone = dataclasses.replace(this_process(), pid=2**22 + 1)
    take(folder / ATTEMPTS, 0, gone)
    second = take(folder / ATTEMPTS, 1, Owner("node7", "boot", 5, "1", "slurm/12/0"))
    second.note("start.json", step=40, lost=3)
    second.end("stopped")
    lines = call("explain", folder.name).lines
    first, then = [line for line in lines if line.startswith("  attempt ")]
    assert "attempt 1: killed, it left no word; process 4194305" in first
    assert "attempt 2: stopped at " in then
    assert "on node7, slurm/12/0" in then
    assert then.endswith("began with 40 steps saved, 3 steps lost before it")
    assert "next: a later run continues it" in lines[-1]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "explain needs a job"),
        (["none"], "no such job folder, and no job in the store"),
        (["none", "--suite", "demo"], "unknown job 'none'"),
        (["MAE", "--suite", "demo"], "may be 7 jobs"),
    ],
)
def test_what_is_no_job_is_not_explained(call, words, part):
    answer = call("explain", *words)
    assert answer.code == 2
    assert part in answer.err


def test_a_job_of_another_store_is_not_explained_as_one_of_this(
    build_suite, ground_of, call, tmp_path
):
    ground = ground_of(build_suite())
    folder = ground.store.prepare(ground.plan.jobs[0], None)
    (folder / FAILURE).write_text('{"message": "no"}')
    other = tmp_path / "other"
    other.mkdir()
    folder.rename(other / folder.name)
    answer = call("explain", f"{other}/{folder.name}")
    assert answer.code == 2
    assert f"is not in the store {tmp_path / 'runs'}; pass --store {other}" in answer.err
