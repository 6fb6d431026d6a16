import numpy as np
import pytest
import torch

from transfer.miou import areas, class_ious, total
from transfer.mmseg_adapter.toolbox import import_mmseg


def theirs(prediction, truth, classes, ignored):
    import_mmseg()
    from mmseg.evaluation import IoUMetric

    counted = IoUMetric.intersect_and_union(prediction, truth, classes, ignored)
    return [part.numpy().astype(int) for part in counted]


def ours(prediction, truth, classes, ignored):
    found = areas(prediction, truth, classes, ignored)
    return [found.intersection, found.union, found.prediction, found.truth]


def blocks(shape, classes, side, seed):
    """Return a label map of square regions of one class each."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (-(-shape[0] // side), -(-shape[1] // side)))
    return np.kron(coarse, np.ones((side, side), int))[: shape[0], : shape[1]]


@pytest.mark.parametrize("classes", [1, 2, 21, 150, 254, 255, 256, 300])
@pytest.mark.parametrize("side", [1, 3, 40])
@pytest.mark.parametrize("shape", [(1, 1), (7, 9), (64, 48), (33, 101)])
def test_areas_are_those_that_mmsegmentation_counts(classes, side, shape):
    ignored = 255 if classes <= 255 else 65535
    truth = blocks(shape, classes, side, 0)
    prediction = np.where(blocks(shape, 2, side, 1), truth, blocks(shape, classes, side, 2))
    prediction[prediction == classes - 1] = 0  # a class that is never predicted
    truth[blocks(shape, 3, side, 3) == 0] = ignored
    pair = (torch.from_numpy(prediction), torch.from_numpy(truth))
    counted = zip(ours(*pair, classes, ignored), theirs(*pair, classes, ignored), strict=True)
    for one, other in counted:
        np.testing.assert_array_equal(one, other)


def test_an_image_without_a_counted_pixel_has_no_areas():
    found = areas(torch.zeros(4, 4).long(), torch.full((4, 4), 255), 3, 255)
    assert not found.union.any()
    assert found.occurring.size == 0
    assert np.isnan(class_ious(found)).all()


def test_bytes_count_like_wide_integers():
    truth, prediction = (torch.from_numpy(blocks((32, 32), 150, 4, seed)) for seed in (0, 1))
    narrow = areas(prediction.byte(), truth.byte(), 150, 255)
    np.testing.assert_array_equal(
        narrow.intersection, areas(prediction, truth, 150, 255).intersection
    )


@pytest.mark.parametrize("wrong", [3, 254, 256, 65534])
def test_a_label_beyond_the_classes_is_no_silent_loss(wrong):
    labels = torch.tensor([[0, 1, wrong]])
    with pytest.raises(ValueError, match="label"):
        areas(torch.zeros_like(labels), labels, 3, 255)
    with pytest.raises(ValueError, match="label"):
        areas(labels, torch.zeros_like(labels), 3, 255)


def test_sums_over_images_are_exact_beyond_the_24_bits_of_a_float():
    one = areas(torch.zeros(1, 3).long(), torch.zeros(1, 3).long(), 1, 255)
    many = total([one] * 3)
    assert many.truth.tolist() == [9]
    assert many.truth.dtype == np.int64
    large = areas(torch.zeros(4097, 4096).byte(), torch.zeros(4097, 4096).byte(), 1, 255)
    assert total([large, one]).intersection.tolist() == [4097 * 4096 + 3]
