"""The mean corruption error of ImageNet-C."""

from collections.abc import Mapping
from statistics import mean

ALEXNET = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
"""Top-1 error of AlexNet, the mean over the five severities: the authors' spreadsheet, to which the
README of github.com/hendrycks/robustness leads; test_corruption_error.py has each severity."""


def corruption_errors(errors: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    """Return 100 * error / AlexNet's error for each corruption, both summed over severities.

    `errors`: corruption -> severity -> top-1 error in [0, 1]. Hendrycks and Dietterich 2019, 4.1.
    """
    return {name: 100 * mean(parts.values()) / ALEXNET[name] for name, parts in errors.items()}


def mean_corruption_error(errors: Mapping[str, Mapping[int, float]]) -> float:
    """Return the mean corruption error, which is 100 for AlexNet and may be above it.

    Raises ValueError naming what is missing unless all 15 corruptions have five severities.
    """
    lacking = [
        f"{name}/{severity}"
        for name in ALEXNET
        for severity in range(1, 6)
        if severity not in errors.get(name, {})
    ]
    if lacking:
        raise ValueError(
            f"the mean corruption error needs 15 corruptions of 5 severities, {len(lacking)} are "
            f"missing, first {lacking[0]}; measure them too"
        )
    return mean(corruption_errors(errors).values())
