import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from mae_bench.core.recipe import Context
from mae_bench.kit.datasets import Views
from mae_bench.kit.encoder import read_encoder
from mae_bench.kit.images import eval_view, normalize
from mae_bench.kit.samples import read_samples
from mae_bench.kit.vit import VisionTransformer
from transfer.imagenet_knn import ImagenetKnn


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(out, data, encoder, seed=0, **fields):
    out.mkdir()
    metrics = ImagenetKnn(image_size=64, **fields).run(Context(out, seed, data, encoder))
    return metrics, pd.read_parquet(out / "predictions.parquet")


def features_of(encoder, data, split):
    """Return float64 cls tokens, one image at a time, and labels."""
    model = VisionTransformer(read_encoder(encoder).spec).eval()
    model.load_state_dict(read_encoder(encoder).state)
    samples = read_samples(data, split)
    views, rows = Views(samples, eval_view(64), seed=0), []
    for index in range(len(samples)):
        with torch.no_grad():
            rows.append(model(normalize(views[0, index][0][None]))[0, 0])
    return torch.stack(rows).double().numpy(), samples.labels


def test_accuracies_are_scikit_learns_on_the_models_own_features(tmp_path, write, roots):
    encoder, data = write(), roots["imagenet"]
    metrics, predictions = run(tmp_path / "out", data, encoder, temperature=0.5)
    bank, labels = features_of(encoder, data, "train")
    queries, wanted = features_of(encoder, data, "val")
    for k in (10, 20, 100, 200):
        theirs = KNeighborsClassifier(
            min(k, len(bank)),
            metric="cosine",
            algorithm="brute",
            weights=lambda distances: np.exp((1 - distances) / 0.5),
        ).fit(bank, labels)
        assert metrics[f"knn{k}"] == pytest.approx(100 * theirs.score(queries, wanted))
        if k == 20:
            shares = theirs.predict_proba(queries)
    given = predictions["probability"].to_numpy()
    np.testing.assert_allclose(given, shares[np.arange(len(wanted)), wanted], rtol=2e-3, atol=1e-6)
    assert predictions["top1"].tolist() == shares.argmax(axis=1).tolist()
    assert 100 * (predictions["top1"] == predictions["label"]).mean() == metrics["knn20"]
    assert predictions["image"].tolist()[0].startswith("n0000000")


def test_fewer_images_than_neighbours_are_a_deviation(tmp_path, write, roots):
    run(tmp_path / "out", roots["imagenet"], write())
    facts = json.loads((tmp_path / "out" / "facts.json").read_text())
    assert facts["deviations"] == [f"all 32 training images vote for k = {k}" for k in (100, 200)]


def test_any_seed_gives_the_same_and_another_encoder_something_else(tmp_path, write, roots):
    data = roots["imagenet"]
    first = run(tmp_path / "a", data, write(0))
    again = run(tmp_path / "b", data, write(0), seed=1)
    other = run(tmp_path / "c", data, write(1))
    assert first[0] == again[0]
    pd.testing.assert_frame_equal(first[1], again[1])
    assert np.abs(first[1]["probability"] - other[1]["probability"]).max() > 0.01
