import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from mae_bench.kit.knn import TEMPERATURE, K, knn_accuracy, neighbours, spread
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


def brute_force(bank, queries, labels, k):
    """Return neighbours and votes for 4 classes in float64; of equal ones the first."""
    unit = [
        x.double() / x.double().norm(dim=1, keepdim=True).clamp_min(1e-12) for x in (bank, queries)
    ]
    similarity = (unit[1] @ unit[0].T).numpy()
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    votes = np.zeros((len(queries), 4))
    for row, columns in enumerate(nearest):
        for column in columns:
            votes[row, labels[column]] += np.exp(similarity[row, column] / 0.07)
    return nearest, votes


@pytest.mark.parametrize(("block", "rows"), [(1000, 1000), (64, 7), (7, 50), (33, 9)])
@pytest.mark.parametrize("k", [1, 10, 60])
def test_blocks_of_any_size_give_the_votes_of_a_float64_brute_force(block, rows, k):
    generator = torch.Generator().manual_seed(0)
    bank, queries = (torch.randn(n, 24, generator=generator) for n in (130, 41))
    labels = torch.randint(0, 4, (130,), generator=generator)
    found = neighbours(bank.split(block), queries, k, rows)
    nearest, votes = brute_force(bank, queries, labels, k)
    assert found.index.tolist() == nearest.tolist()
    given = found.votes(labels, 4, k).numpy()
    np.testing.assert_allclose(given, votes, rtol=1e-4)
    assert given.argmax(axis=1).tolist() == votes.argmax(axis=1).tolist()


@pytest.mark.parametrize(("block", "rows"), [(1000, 1000), (64, 7), (7, 50), (33, 9)])
@pytest.mark.parametrize("k", [1, 10, 60])
def test_of_equally_near_ones_the_first_vote_in_blocks_of_any_size(block, rows, k):
    """Signs of 16 numbers: cosines are multiples of 1/16 without rounding, and most are tied."""
    generator = torch.Generator().manual_seed(0)
    bank, queries = (torch.randint(0, 2, (n, 16), generator=generator) * 2.0 - 1 for n in (130, 41))
    labels = torch.randint(0, 4, (130,), generator=generator)
    found = neighbours(bank.split(block), queries, k, rows)
    nearest, votes = brute_force(bank, queries, labels, k)
    assert found.index.tolist() == nearest.tolist()
    np.testing.assert_allclose(found.votes(labels, 4, k).numpy(), votes, rtol=1e-12)


def test_an_encoder_that_says_nothing_has_its_first_images_vote():
    found = neighbours(torch.ones(50, 8).split(7), torch.ones(3, 8), 5)
    assert found.index.tolist() == [[0, 1, 2, 3, 4]] * 3
    nothing = neighbours(torch.zeros(50, 8).split(7), torch.zeros(3, 8), 5)
    assert nothing.similarity.tolist() == [[0.0] * 5] * 3


def test_of_a_smaller_bank_all_vote():
    bank, labels = torch.eye(3), torch.tensor([0, 1, 1])
    found = neighbours(bank.split(2), bank, 20)
    assert found.index.tolist() == [[0, 1, 2], [1, 0, 2], [2, 0, 1]]
    assert found.votes(labels, 2).argmax(dim=1).tolist() == [0, 1, 1]


def test_the_fewer_of_many_neighbours_vote_as_if_asked_for_alone():
    generator = torch.Generator().manual_seed(1)
    bank, queries = (torch.randn(n, 8, generator=generator) for n in (90, 20))
    labels = torch.randint(0, 3, (90,), generator=generator)
    many, few = (neighbours(bank.split(16), queries, k) for k in (40, 10))
    assert torch.equal(many.votes(labels, 3, 10), few.votes(labels, 3, 10))
    assert torch.equal(many.part(slice(3, 7)).votes(labels, 3), many.votes(labels, 3)[3:7])


def test_the_precision_of_other_products_is_as_before():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    neighbours(torch.eye(4).split(2), torch.eye(4), 2)
    assert torch.get_float32_matmul_precision() == "high"
    torch.set_float32_matmul_precision(before)


def test_a_part_of_the_samples_is_spread_evenly(tmp_path):
    names = np.array([b"%d" % i for i in range(100)])
    samples = Samples(tmp_path, names, np.arange(100), tuple(map(str, range(100))))
    assert spread(samples, 5).labels.tolist() == [0, 25, 50, 74, 99]
    assert spread(samples, 100) is samples
