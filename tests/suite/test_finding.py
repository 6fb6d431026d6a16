import json

import pytest

from mae_bench.core.files import append_metrics
from mae_bench.core.owner import this_process
from mae_bench.core.turns import take
from mae_bench.suite.attempts import ATTEMPTS
from mae_bench.suite.finding import Candidate, find_job, the_one


@pytest.fixture
def stores(build_suite, ground_of):
    """Return the store and the folders of three rows' jobs: none has an encoder yet."""
    suite = build_suite({"Stopped": {}, "Failing": {"steps": 6}, "Working": {"steps": 7}})
    ground = ground_of(suite)
    folders = {(job.row, job.recipe.name): job for job in ground.plan.jobs}
    folders = {name: ground.store.prepare(job, None) for name, job in folders.items()}
    append_metrics(folders["Stopped", "counting"], step=1, steps=5)
    (folders["Failing", "counting"] / "failure.json").write_text(json.dumps({"message": "no"}))
    take(folders["Working", "counting"] / ATTEMPTS, 0, this_process())
    return ground.store.root, folders


@pytest.mark.parametrize(
    ("words", "row", "recipe"),
    [
        (["interrupted"], "Stopped", "counting"),
        (["partial", "Stopped", "counting"], "Stopped", "counting"),
        (["blocked"], "Failing", "reading"),
        (["partial", "Failing"], "Failing", "reading"),
        (["waiting"], "Working", "reading"),
        (["running"], "Working", "counting"),
    ],
)
def test_a_job_is_found_by_every_word_that_says_how_it_stands(stores, words, row, recipe):
    store, folders = stores
    assert find_job(words, store).folder == folders[row, recipe]


def candidates(*jobs):
    """Return a candidate for each row and recipe; its key is its place, from 1."""
    return [
        Candidate(f"{i + 1:016x}", name, row, 0, ("done",)) for i, (row, name) in enumerate(jobs)
    ]


@pytest.mark.parametrize(
    ("words", "jobs"),
    [
        (["MAE"], [("MAE", "mae"), ("MAE long", "mae")]),
        (["mae"], [("MAE", "mae"), ("Other", "mae")]),
        (["mae"], [("mae", "supervised"), ("Other", "mae")]),
        (["mae", "seed0"], [("MAE", "imagenet_knn"), ("Other", "mae")]),
        (["MAE", "knn"], [("MAE", "imagenet_knn"), ("MAE long", "imagenet_knn")]),
        (["mae", "mae"], [("MAE", "mae"), ("MAE", "imagenet_knn"), ("Other", "mae")]),
    ],
)
def test_a_row_of_that_very_name_is_meant_before_a_recipe_or_a_longer_row(words, jobs):
    assert the_one(words, candidates(*jobs), "the store") == f"{1:016x}"


def test_a_recipe_is_still_meant_where_no_row_has_its_name():
    jobs = candidates(("Random", "random_init"), ("Ours", "mae"))
    assert the_one(["mae"], jobs, "the store") == f"{2:016x}"


@pytest.mark.parametrize("command", ["status", "gc"])
@pytest.mark.parametrize("name", ["photos/1.jpg", "job.json", "old.part"])
def test_a_folder_in_which_no_job_was_ever_run_is_no_store(call, tmp_path, command, name):
    path = tmp_path / "runs" / name
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    answer = call(command)
    assert answer.code == 2
    assert answer.err.startswith(f"mae-bench: {tmp_path / 'runs'} is no store: ")
    assert "pass --store with the folder that `mae-bench run` filled" in answer.err
    assert not answer.out
