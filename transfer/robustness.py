"""Fine-tuned classifiers on the shifted test sets of ImageNet."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from mae_bench.core.files import append_metrics, record_facts
from mae_bench.core.recipe import Context
from mae_bench.kit.classifier import Classifier
from mae_bench.kit.classifier_file import ClassifierFile, read_classifier
from mae_bench.kit.datasets import Views
from mae_bench.kit.decode import Pixels
from mae_bench.kit.encoder import Encoder
from mae_bench.kit.evaluation import predict, read_accuracy
from mae_bench.kit.facts import encoder_facts
from mae_bench.kit.images import View, eval_view, resize
from mae_bench.kit.layouts import shifted_folders
from mae_bench.kit.machine import Machine, start
from mae_bench.kit.samples import Samples, read_samples
from transfer.corruption_error import corruption_errors, mean_corruption_error
from transfer.imagenet_robustness import METRICS

if TYPE_CHECKING:
    from transfer.imagenet_robustness import ImagenetRobustness

IMAGENET_CLASSES = 1000
PUBLISHED = {"imagenet-c": 50_000, "imagenet-a": 7_500, "imagenet-r": 30_000, "sketch": 50_889}
"""Images of each set; of imagenet-c in each corruption and severity."""
SUBSETS = {"imagenet-a": 200, "imagenet-r": 200}
"""Sets with some of ImageNet's classes, and with how many."""


@dataclass(frozen=True)
class Part:
    """One folder of class folders: a set, or a severity of a corruption of imagenet-c."""

    name: str
    """Path below the data root."""
    samples: Samples
    index: tuple[int, ...]
    """The classifier's logit of each of the part's classes."""

    @property
    def of(self) -> str:
        """The set that it belongs to."""
        return self.name.partition("/")[0]

    def kept(self, out: Path) -> Path:
        """Return where its predictions are kept."""
        return out / f"predictions-{self.name.replace('/', '-')}.parquet"


def robustness(recipe: "ImagenetRobustness", ctx: Context) -> dict[str, float]:
    """Return the metric of each set; the classifier is asked once about each image.

    Predictions are kept in ctx.out, and a part that has them is not asked again. Raises ValueError
    before any work if a set is missing or has other classes than the classifier.
    """
    assert ctx.encoder is not None
    machine = start(ctx.out)
    given = read_classifier(ctx.encoder)
    parts = _parts(recipe, ctx, given.classes)
    if machine.ranks.first:
        _record(ctx, given, parts)
    model = given.model().to(machine.ranks.device)  # whole on every rank, even where shards are set
    top1: dict[str, float] = {}
    for part in parts:
        top1[part.name] = _accuracy(model, part, ctx, machine)
        if machine.ranks.first:
            append_metrics(ctx.out, step=len(top1), steps=len(parts))
    return _metrics(recipe, ctx, top1) if machine.ranks.first else {}


class Restricted(nn.Module):
    """A classifier that chooses among some of its classes, in their order."""

    def __init__(self, model: Classifier, index: tuple[int, ...]) -> None:
        super().__init__()
        self.model = model
        self.spec = model.spec
        self.index = list(index)

    def forward(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch some"]:
        """Return the logits of those classes."""
        return self.model(images)[:, self.index]


def class_index(part: str, samples: Samples, trained: tuple[str, ...]) -> tuple[int, ...]:
    """Return the place of each of the part's classes among those of the classifier.

    Raises ValueError for classes that training did not have, for one without images, and for
    another number of classes than the set has: all, or the 200 of ImageNet-A and -R.
    """
    places = {name: place for place, name in enumerate(trained)}
    strange = [name for name in samples.classes if name not in places]
    if strange:
        raise ValueError(
            f"{samples.root} has {len(strange)} classes that the classifier was not trained on, "
            f"such as {strange[0]!r}; expected folders named like its {len(trained)} classes, "
            f"such as {trained[0]!r}: use the classifier of the same ImageNet"
        )
    expected = len(trained)
    if part in SUBSETS:  # of a smaller training set any part may be left
        expected = SUBSETS[part] if len(trained) == IMAGENET_CLASSES else len(samples.classes)
    if len(samples.classes) != expected:
        raise ValueError(
            f"{samples.root} has {len(samples.classes)} classes, expected {expected}; copy it again"
        )
    counts = np.bincount(samples.labels, minlength=len(samples.classes))
    if not counts.all():
        name = samples.classes[int(counts.argmin())]
        raise ValueError(f"{samples.root}/{name} has no images; copy it again")
    return tuple(places[name] for name in samples.classes)


def square_view(side: int) -> View:
    """Return the view of imagenet-c: as it is, for its images are test crops already.

    For a classifier of another size than theirs they are resized, with nothing cut off.
    """

    def view(pixels: Pixels, rng: random.Random) -> Pixels:
        height, width = pixels.shape[1:]
        if height != width:
            raise ValueError(
                f"an image of imagenet-c is {height}x{width} pixels, expected a square; use the "
                "published images, which are 224x224"
            )
        return pixels if height == side else resize(pixels, side, side)

    return view


def _parts(
    recipe: "ImagenetRobustness", ctx: Context, classes: tuple[str, ...]
) -> tuple[Part, ...]:
    """Return what is measured, all of it looked through."""
    assert ctx.data is not None
    found = []
    for name in (folder for one in recipe.sets for folder in shifted_folders(one)):
        above, _, leaf = name.rpartition("/")
        samples = read_samples(ctx.data / above, leaf)
        index = class_index(name.partition("/")[0], samples, classes)
        found.append(Part(name, samples, index))
    return tuple(found)


def _accuracy(model: Classifier, part: Part, ctx: Context, machine: Machine) -> float:
    """Return the top-1 accuracy on the part, from its kept predictions if it has them.

    On ranks but the first the value means nothing.
    """
    path = part.kept(ctx.out)
    count = len(part.samples)
    first = machine.ranks.first
    known = machine.ranks.share(read_accuracy(path, count) if first else None)
    if known is not None:
        return known
    side = model.spec.image_size
    view = square_view(side) if part.of == "imagenet-c" else eval_view(side)
    chooser = Restricted(model, part.index)
    predictions = predict(chooser, Views(part.samples, view, seed=0), machine.ranks)
    if first:
        predictions.write(path)
    return predictions.accuracy()


def _record(ctx: Context, given: ClassifierFile, parts: tuple[Part, ...]) -> None:
    """Record the classifier's encoder, and what deviates from the published measurement."""
    encoder = Encoder(given.spec, dict(given.state), given.sha256, given.history)
    deviations = [f"fine-tuning: {text}" for text in given.deviations]
    deviations += [
        f"{part.name}: {len(part.samples)} images, published {PUBLISHED[part.of]}"
        for part in parts
        if len(part.samples) != PUBLISHED[part.of]
    ]
    images = {part.name: len(part.samples) for part in parts}
    record_facts(ctx.out, encoder=encoder_facts(encoder), test_images=images, deviations=deviations)


def _metrics(
    recipe: "ImagenetRobustness", ctx: Context, top1: dict[str, float]
) -> dict[str, float]:
    """Return the metrics; record the error of each corruption."""
    found = {METRICS[one]: top1[one] for one in recipe.sets if one in top1}
    if "imagenet-c" in recipe.sets:
        errors: dict[str, dict[int, float]] = {}
        for name in shifted_folders("imagenet-c"):
            _, corruption, severity = name.split("/")
            errors.setdefault(corruption, {})[int(severity)] = 1 - top1[name] / 100
        found["mce"] = mean_corruption_error(errors)
        about: dict[str, Any] = {"errors": errors, "relative": corruption_errors(errors)}
        record_facts(ctx.out, corruption=about)
    return found
