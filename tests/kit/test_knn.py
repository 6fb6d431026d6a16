import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from mae_bench.kit.knn import TEMPERATURE, K, knn_accuracy, spread
from mae_bench.kit.samples import Samples


def test_accuracy_equals_scikit_learns_with_the_same_weights():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 16))
    labels, wanted = rng.integers(0, 5, 300), rng.integers(0, 5, 200)
    bank = centres[labels] + 1.5 * rng.normal(size=(300, 16))
    queries = centres[wanted] + 1.5 * rng.normal(size=(200, 16))
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (bank, queries)]

    def votes(distances):
        return np.exp((1 - distances) / TEMPERATURE)

    theirs = KNeighborsClassifier(K, metric="cosine", algorithm="brute", weights=votes)
    expected = 100 * theirs.fit(unit[0], labels).score(unit[1], wanted)
    tensors = (torch.tensor(x, dtype=torch.float32) for x in (bank, queries))
    a, b = tensors
    found = knn_accuracy(a, torch.tensor(labels), b, torch.tensor(wanted))
    assert found == pytest.approx(expected)
    assert 40 < found < 100


def test_a_part_of_the_samples_is_spread_evenly(tmp_path):
    names = np.array([b"%d" % i for i in range(100)])
    samples = Samples(tmp_path, names, np.arange(100), tuple(map(str, range(100))))
    assert spread(samples, 5).labels.tolist() == [0, 25, 50, 74, 99]
    assert spread(samples, 100) is samples
