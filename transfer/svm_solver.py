"""Linear SVMs of several classes, as many at a time as there are processes.

Not threads: liblinear draws its order from one generator for the whole process, so what one thread
draws would change another's solution. Loads without torch, since every process loads it.
"""

import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score
from sklearn.svm import LinearSVC

if TYPE_CHECKING:
    from transfer.voc_classification import VocClassification

SCORING = "average_precision"
"""What cross-validation goes by: scikit-learn's, as in the released code."""


@dataclass(frozen=True)
class Trained:
    """What the SVM of one class says of the test images, and how it came about."""

    scores: Float[ndarray, " images"]
    cost: float
    tried: Float[ndarray, " costs"]
    """Average precision of the cross-validation for each cost."""


@dataclass(frozen=True)
class SvmTask:
    """What SVMs are made of: the recipe and seed, and .npy files of the images' features."""

    recipe: "VocClassification"
    seed: int
    train: Path
    test: Path

    def trained(self, labels: Int[ndarray, " images"]) -> Trained:
        """Return the SVM of the class with those labels of the training images."""
        rows, tests = (np.load(path, mmap_mode="r") for path in (self.train, self.test))
        return train_class(self.recipe, self.seed, rows, labels, tests)


def train_classes(
    task: SvmTask, labels: Mapping[int, Int[ndarray, " images"]], processes: int
) -> Iterator[tuple[int, Trained]]:
    """Yield number and SVM of each class as it is done; with one process in this one, in order.

    The scores do not depend on the number of processes, which end with this one. Raises
    RuntimeError if one of them is killed.
    """
    if min(processes, len(labels)) <= 1:
        yield from ((number, task.trained(column)) for number, column in labels.items())
        return
    with ProcessPoolExecutor(
        min(processes, len(labels)), get_context("spawn"), initializer=_end_with_parent
    ) as pool:
        numbers = {pool.submit(task.trained, column): n for n, column in labels.items()}
        try:
            for future in as_completed(numbers):
                yield numbers[future], future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a process that trains SVMs was killed, perhaps for want of memory; start again "
                "with a smaller OMP_NUM_THREADS: what is finished is kept"
            ) from error
        except BaseException:  # a signal too: leaving the block would wait for the whole class
            for child in active_children():
                child.terminate()
            raise


def train_class(
    recipe: "VocClassification",
    seed: int,
    features: Float[ndarray, "images width"],
    labels: Int[ndarray, " images"],
    tests: Float[ndarray, "others width"],
) -> Trained:
    """Return the SVM's scores of the test images, its cost chosen on the training images.

    Of costs that do equally well the first is taken. Images whose label is not 1 are negatives.
    """
    signs = np.where(labels == 1, 1, -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # as of the greatest costs always
        tried = [
            cross_val_score(
                svm(recipe, seed, cost), features, signs, cv=recipe.folds, scoring=SCORING
            ).mean()
            for cost in recipe.costs
        ]
        cost = recipe.costs[int(np.argmax(tried))]
        fitted = svm(recipe, seed, cost).fit(features, signs)
    return Trained(fitted.decision_function(tests), cost, np.array(tried))


def svm(recipe: "VocClassification", seed: int, cost: float) -> Any:
    """Return an untrained SVM of that cost, all else as in the released code."""
    return LinearSVC(
        C=cost,
        class_weight={1: recipe.positive_weight, -1: 1.0},
        dual=True,
        max_iter=recipe.iterations,
        random_state=seed,
    )


def _end_with_parent() -> None:
    """Let this process end when the one that started it does, however that happens."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
