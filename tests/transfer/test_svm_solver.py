import numpy as np
import pytest
from sklearn.svm import LinearSVC

from transfer.svm_solver import SvmTask, train_classes
from transfer.voc_classification import VocClassification


@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")
def test_scores_do_not_depend_on_the_processes_where_the_solver_does_not_converge(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 64))
    np.save(tmp_path / "rows.npy", rows)
    recipe = VocClassification(costs=(100.0,), iterations=20)
    task = SvmTask(recipe, 3, tmp_path / "rows.npy", tmp_path / "rows.npy")
    labels = {number: rng.choice([-1, 1], size=400, p=[0.8, 0.2]) for number in range(6)}
    found = dict(train_classes(task, labels, 2))
    alone = dict(train_classes(task, labels, 1))
    assert sorted(found) == list(alone) == list(labels)
    for number, signs in labels.items():
        assert np.array_equal(found[number].scores, alone[number].scores)
        assert np.array_equal(found[number].tried, alone[number].tried)
        theirs, others = (
            LinearSVC(C=100, class_weight={1: 2, -1: 1}, max_iter=20, dual=True, random_state=seed)
            .fit(rows, signs)
            .decision_function(rows)
            for seed in (3, 4)
        )
        assert np.array_equal(found[number].scores, theirs)
        assert not np.array_equal(theirs, others)  # what the solver draws decides them
