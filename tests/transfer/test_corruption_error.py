"""The mean corruption error against numbers from outside."""

import pytest

from mae_bench.kit.layouts import CORRUPTIONS
from transfer.corruption_error import ALEXNET, corruption_errors, mean_corruption_error

ALEXNET_BY_SEVERITY = {
    "gaussian_noise": (0.69528, 0.82542, 0.93554, 0.98138, 0.99452),
    "shot_noise": (0.71224, 0.85108, 0.93574, 0.98182, 0.99146),
    "impulse_noise": (0.78374, 0.89808, 0.94870, 0.98720, 0.99548),
    "defocus_blur": (0.65624, 0.73202, 0.85036, 0.91364, 0.94714),
    "glass_blur": (0.64308, 0.75054, 0.88806, 0.91622, 0.93344),
    "motion_blur": (0.58430, 0.70048, 0.82108, 0.89750, 0.92638),
    "zoom_blur": (0.70008, 0.76992, 0.80784, 0.84198, 0.87198),
    "snow": (0.71726, 0.88392, 0.86468, 0.91870, 0.94952),
    "frost": (0.61390, 0.79734, 0.88790, 0.89942, 0.93430),
    "fog": (0.67474, 0.76050, 0.84378, 0.87260, 0.94500),
    "brightness": (0.45140, 0.48502, 0.54048, 0.62166, 0.72440),
    "contrast": (0.64548, 0.76150, 0.88874, 0.97760, 0.99270),
    "elastic_transform": (0.52596, 0.70116, 0.55686, 0.64076, 0.80554),
    "pixelate": (0.52218, 0.54620, 0.73728, 0.87092, 0.91262),
    "jpeg_compression": (0.51002, 0.54718, 0.57294, 0.65458, 0.74778),
}
"""AlexNet's error at each severity, as several evaluations of ImageNet-C list it."""
RESNET50 = {
    "brightness": (68.02, 56.64),
    "contrast": (39.06, 71.43),
    "defocus_blur": (38.75, 74.71),
    "elastic_transform": (45.25, 84.75),
    "fog": (45.83, 66.11),
    "frost": (38.14, 74.84),
    "gaussian_noise": (29.29, 79.77),
    "glass_blur": (26.79, 88.61),
    "impulse_noise": (23.81, 82.58),
}
"""Mean top-1 accuracy of torchvision's ResNet-50 and its corruption error, reported elsewhere."""


def by_severity(table):
    return {name: dict(zip(range(1, 6), parts, strict=True)) for name, parts in table.items()}


def test_alexnet_itself_has_a_mean_corruption_error_of_100():
    assert set(ALEXNET) == set(CORRUPTIONS)
    errors = corruption_errors(by_severity(ALEXNET_BY_SEVERITY))
    assert all(value == pytest.approx(100, abs=1e-6) for value in errors.values())
    assert mean_corruption_error(by_severity(ALEXNET_BY_SEVERITY)) == pytest.approx(100)


@pytest.mark.parametrize("name", RESNET50)
def test_the_corruption_errors_of_a_resnet_are_those_reported(name):
    accuracy, expected = RESNET50[name]
    errors = corruption_errors({name: dict.fromkeys(range(1, 6), 1 - accuracy / 100)})
    assert errors[name] == pytest.approx(expected, abs=0.015)  # of a rounded accuracy


def test_the_mean_corruption_error_is_that_of_a_hand_calculation():
    half = {n: tuple(e / 2 for e in parts) for n, parts in ALEXNET_BY_SEVERITY.items()}
    assert mean_corruption_error(by_severity(half)) == pytest.approx(50)
    one = {**half, "fog": (1.0,) * 5}  # 100 / 0.819324 = 122.0518 beside fourteen of 50
    expected = (14 * 50 + 122.05184) / 15
    assert mean_corruption_error(by_severity(one)) == pytest.approx(expected, abs=1e-4)
    del half["fog"]
    with pytest.raises(ValueError, match=r"5 are missing, first fog/1"):
        mean_corruption_error(by_severity(half))
