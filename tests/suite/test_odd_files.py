"""One odd file, or an option that cannot be meant, is named and takes nothing else down."""

import json
import math

import pytest

from mae_bench.core.files import append_metrics
from mae_bench.core.turns import Turn, silent_s
from mae_bench.suite.cost.samples import read_samples
from mae_bench.suite.store import RESULT


def test_an_option_given_twice_is_an_error_and_not_the_last_one(call, write_suite):
    path = write_suite()
    for words in (
        ["--suite", path, "--suite=demo"],
        ["--suite", path, "--only", "A", "--only", "B"],
    ):
        answer = call("plan", *words)
        assert answer.code == 2
        assert "is given 2 times; pass it once" in answer.err


def test_a_turn_whose_folder_was_removed_is_silent_for_ever(tmp_path):
    assert silent_s(tmp_path / "1") == math.inf
    assert not Turn(tmp_path / "1").alive


@pytest.mark.parametrize("price", ["nan", "inf", "-1"])
def test_a_price_is_a_number(call, write_suite, price):
    answer = call("plan", "--suite", write_suite(), "--price-per-gpu-hour", price)
    assert answer.code == 2


def test_what_no_recipe_writes_is_no_progress(three, tmp_path, call):
    folder = tmp_path / "runs" / three["Bad", "counting"]
    with (folder / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": "x", "steps": 5}\n{"step": NaN, "steps": 5}\n')
    for command in ("status", "plan"):
        assert call(command, "--suite", tmp_path / "trial.toml").code == 0
    append_metrics(folder, step=5, steps=5)
    assert call("status").code == 0


def test_copies_and_times_that_no_job_can_take_are_no_measurements(three, tmp_path, read_json):
    store = tmp_path / "runs"
    folder = store / three["Good", "counting"]
    before = len(read_samples(store))
    folder.rename(store / "copy")
    assert len(read_samples(store)) == before - 1
    (store / "copy").rename(folder)
    content = read_json(folder / RESULT) | {"schema": 1, "seconds": math.nan}
    del content["seal"]
    (folder / RESULT).write_text(json.dumps(content))
    assert len(read_samples(store)) == before - 1


def test_a_result_whose_seal_was_removed_is_not_believed(three, tmp_path, call, read_json):
    path = tmp_path / "runs" / three["Good", "reading"] / RESULT
    content = read_json(path)
    del content["seal"]
    path.write_text(json.dumps(content))
    answer = call("explain", three["Good", "reading"])
    assert "it was changed after it was written" in answer.out


def test_a_picture_that_leads_nowhere_keeps_no_table_from_being_written(three, tmp_path, call):
    figures = tmp_path / "runs" / three["Good", "reading"] / "figures"
    figures.mkdir(exist_ok=True)
    (figures / "x.png").symlink_to("/nowhere")
    words = ("--suite", tmp_path / "trial.toml", "--results", tmp_path / "results")
    assert call("report", *words).code == 0


def test_tables_of_a_store_that_is_not_there_are_not_written(call, write_suite, tmp_path):
    answer = call("report", "--suite", write_suite(), "--results", tmp_path / "results")
    assert answer.code == 2
    assert f"no store {tmp_path / 'runs'}" in answer.err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("command", ["explain", "show", "retry", "cancel"])
def test_a_job_file_that_cannot_be_read_is_named(three, tmp_path, call, command):
    path = tmp_path / "runs" / three["Good", "counting"] / "job.json"
    whole = json.loads(path.read_text())
    del whole["identity"]["version"]
    for text in ("{", json.dumps(whole)):
        path.write_text(text)
        answer = call(command, path.parent.name)
        assert answer.code == 2
        assert f"{path} cannot be understood" in answer.err
