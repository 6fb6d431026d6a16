import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mae_bench.kit.datasets import Views
from mae_bench.kit.evaluation import Predictions, predict
from mae_bench.kit.images import eval_view
from mae_bench.kit.ranks import Ranks
from mae_bench.kit.samples import read_samples

BRIGHTNESS = {"dark": (0, 10, 20), "light": (250, 240, 30)}
"""Class -> grey levels of its images; the last one lies."""


class Brightness(torch.nn.Module):
    """Says class 1, light, as far as the image is bright; it has a third class."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, images):
        bright = images.mean(dim=(1, 2, 3)) * self.weight
        return torch.stack([-bright, bright, torch.full_like(bright, -9.0)], dim=1)


@pytest.fixture
def views(tmp_path):
    for name, levels in BRIGHTNESS.items():
        folder = tmp_path / "val" / name
        folder.mkdir(parents=True)
        for level in levels:
            Image.new("RGB", (40, 40), (level,) * 3).save(folder / f"{level:03}.png")
    return Views(read_samples(tmp_path, "val"), eval_view(32), seed=0)


def test_accuracy_counts_each_image_once(views):
    found = predict(Brightness(), views)
    assert found.accuracy() == pytest.approx(100 * 5 / 6)
    assert found.accuracy(k=2) == 100.0
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_predictions_come_back_from_their_file(views, tmp_path):
    found = predict(Brightness(), views)
    found.write(tmp_path / "predictions.parquet")
    table = pd.read_parquet(tmp_path / "predictions.parquet")
    assert list(table) == ["image", "label", "top1", "top2", "top3", "probability"]
    assert table["image"].tolist()[0] == "dark/000.png"
    assert (table["top1"] == table["label"]).mean() == pytest.approx(5 / 6)
    wrong = table[table["image"] == "light/030.png"]
    assert wrong["probability"].item() < 0.5


class Shares:
    """The union over ranks, one after another in this process."""

    def __init__(self):
        self.rows = {}

    def union(self, mine):
        assert not self.rows.keys() & mine.keys()
        self.rows |= mine
        return self.rows


@pytest.mark.parametrize("world", [2, 4, 6])
def test_ranks_divide_the_images_without_a_remainder_counted_twice(views, monkeypatch, world):
    whole, shares = predict(Brightness(), views), Shares()
    monkeypatch.setattr(Ranks, "union", lambda self, mine: shares.union(mine))
    for rank in range(world):
        found = predict(Brightness(), views, Ranks(rank, world, torch.device("cpu")))
    assert found.names == whole.names
    assert np.array_equal(found.top, whole.top)
    assert np.array_equal(found.probability, whole.probability)


def test_top_k_looks_at_the_k_largest():
    one = Predictions(("a",), np.array([3]), np.array([[1, 2, 3]]), np.array([0.1]))
    assert (one.accuracy(2), one.accuracy(3)) == (0.0, 100.0)
