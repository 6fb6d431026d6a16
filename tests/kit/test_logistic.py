import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from mae_bench.kit import logistic as module
from mae_bench.kit.logistic import fit_logistic, unit_rows


@pytest.fixture
def classes():
    """Return unit features of 5 overlapping classes, and labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 400)
    features = rng.normal(size=(5, 12))[labels] + 1.2 * rng.normal(size=(400, 12))
    return unit_rows(torch.tensor(features, dtype=torch.float32)), torch.tensor(labels)


@pytest.mark.parametrize("strength", [10.0, 0.1, 0.0025])
def test_weights_are_scikit_learns_at_the_inverse_strength(classes, strength):
    features, labels = classes
    theirs = LogisticRegression(C=1 / strength, fit_intercept=False, tol=1e-8, max_iter=10_000).fit(
        features.double().numpy(), labels.numpy()
    )
    ours = fit_logistic(features, labels, 5, strength).numpy()
    expected = theirs.coef_
    assert np.abs(ours - expected).max() < 0.01 * np.abs(expected).max()


def test_more_rows_than_are_held_at_a_time_give_the_same_weights(classes, monkeypatch):
    features, labels = classes
    whole = fit_logistic(features, labels, 5, 0.1)
    monkeypatch.setattr(module, "ROWS", 33)
    torch.testing.assert_close(fit_logistic(features, labels, 5, 0.1), whole, rtol=1e-2, atol=1e-2)


def test_a_class_without_images_gets_the_least(classes):
    features, labels = classes
    logits = features @ fit_logistic(features, labels, 6, 0.1).T
    assert not (logits.argmax(dim=1) == 5).any()


def test_unit_rows_are_centred_and_of_length_one():
    rows = unit_rows(torch.randn(4, 9) * 5 + 3)
    torch.testing.assert_close(rows.sum(dim=1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(4))
