"""Learning from few labels: six parts one after another, each kept once it is finished."""

import dataclasses
import io
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from mae_bench.core.files import FACTS, append_metrics, record_facts, write_bytes, write_json
from mae_bench.core.recipe import Context
from mae_bench.kit.classifier import Classifier
from mae_bench.kit.datasets import Views, eval_batches
from mae_bench.kit.encoder import Encoder
from mae_bench.kit.evaluation import PREDICTIONS, predictions_of
from mae_bench.kit.features import frozen_features
from mae_bench.kit.images import eval_view, normalize
from mae_bench.kit.label_lists import Labelled, labelled
from mae_bench.kit.logistic import ROWS, fit_logistic, unit_rows
from mae_bench.kit.machine import Machine, start
from mae_bench.kit.ranks import Ranks
from mae_bench.kit.samples import Samples, read_samples
from mae_bench.kit.subsets import stratified
from transfer.classification import finetuned, inputs, score

if TYPE_CHECKING:
    from transfer.imagenet_lowshot import ImagenetLowshot

log = logging.getLogger(__name__)

PERCENTS = (1, 10)
DONE = "parts.json"
"""In the job's folder: the accuracy of every part that is finished."""
PSEUDO_LABELS = "pseudo_labels.npz"
ONE_ROUND = (
    "self-training: one round of fixed labels from the encoder on, with the settings of 10 %; "
    "published from the fine-tuned model on, with an averaged teacher beside it"
)


@dataclass(frozen=True)
class PseudoLabels:
    """The images of a training set that a model is sure of, and what it takes them for."""

    indices: Int[ndarray, " chosen"]
    labels: Int[ndarray, " chosen"]


@dataclass(frozen=True)
class LowShot:
    """What all six parts have at hand."""

    recipe: "ImagenetLowshot"
    ctx: Context
    machine: Machine
    encoder: Encoder
    samples: Samples
    """All training images."""

    def folder(self, name: str) -> Context:
        """Return where a part runs: a folder of its own below the job's."""
        out = self.ctx.out / name
        out.mkdir(exist_ok=True)
        return dataclasses.replace(self.ctx, out=out)

    def note(self, name: str, **facts: Any) -> None:
        """Record what the result should say of a part."""
        if self.machine.ranks.first:
            record_facts(self.ctx.out, **{name: facts})


def low_shot(recipe: "ImagenetLowshot", ctx: Context) -> dict[str, float]:
    """Return the accuracy of each part; a part finished before a kill is not run again."""
    machine = start(ctx.out)
    encoder, samples = inputs(ctx, recipe.image_size, machine)
    assert ctx.data is not None
    shares = [labelled(ctx.data, samples, percent, ctx.seed) for percent in PERCENTS]
    run = LowShot(recipe, ctx, machine, encoder, samples)
    if machine.ranks.first:
        record_facts(
            ctx.out,
            labels={str(share.percent): share.facts for share in shares},
            deviations=[*(words for share in shares for words in share.deviations), ONE_ROUND],
        )
    methods = {"linear": _linear, "finetune": _finetune, "self": _self_train}
    parts = {
        f"{method}_{share.percent}": (work, share)
        for share in shares
        for method, work in methods.items()
    }
    done = machine.ranks.share(_read_done(ctx.out))
    for name, (work, share) in parts.items():
        if name not in done:
            done[name] = machine.ranks.share(work(run, run.folder(name), share))
            _keep_done(run, done, len(parts))
    return done if machine.ranks.first else {}


def _linear(run: LowShot, ctx: Context, share: Labelled) -> float:
    """Return the accuracy of a linear layer on the frozen features of the labelled images."""
    assert ctx.data is not None
    val, device = read_samples(ctx.data, "val"), run.machine.ranks.device
    train = run.samples.subset(share.indices)
    features = [frozen_features(run.encoder, samples, run.machine) for samples in (train, val)]
    accuracy = 0.0
    if run.machine.ranks.first:
        rows, tests = (unit_rows(one.rows().to(device)) for one in features)
        strength, tried = _strength(run, rows, train)
        weights = fit_logistic(rows, _labels(train, device), len(train.classes), strength)
        logits = (part @ weights.T for part in tests.split(ROWS))
        predictions = predictions_of(val, (part.softmax(dim=1) for part in logits))
        predictions.write(ctx.out / PREDICTIONS)
        accuracy = predictions.accuracy()
        run.note(ctx.out.name, strength=strength, held_out_top1=tried)
    return accuracy


def _strength(
    run: LowShot, features: Float[Tensor, "images width"], samples: Samples
) -> tuple[float, dict[str, float]]:
    """Return the regularisation that does best on labelled images held out, and how each does.

    The first, where only one is given or a class has a single label.
    """
    strengths, device = run.recipe.strengths, features.device
    classes = len(samples.classes)
    if len(strengths) == 1 or np.bincount(samples.labels, minlength=classes).min() < 2:
        log.info("strength %g, without a choice", strengths[0])
        return strengths[0], {}
    held = stratified(samples, run.recipe.held_out, run.ctx.seed)
    rest = np.setdiff1d(np.arange(len(samples)), held)
    if np.bincount(samples.labels[rest], minlength=classes).min() < 1:
        raise ValueError(
            f"imagenet_lowshot.held_out {run.recipe.held_out} leaves a class of {len(samples)} "
            "labelled images nothing to train on; lower --held-out"
        )
    labels = _labels(samples, device)
    inner, outer = (torch.from_numpy(part).to(device) for part in (rest, held))
    tried = {}
    for strength in strengths:
        weights = fit_logistic(features[inner], labels[inner], classes, strength)
        right = (features[outer] @ weights.T).argmax(dim=1) == labels[outer]
        tried[f"{strength:g}"] = 100.0 * int(right.sum()) / len(held)
    best = max(strengths, key=lambda strength: tried[f"{strength:g}"])
    log.info("strength %g: %.2f %% of held-out images", best, tried[f"{best:g}"])
    return best, tried


def _finetune(run: LowShot, ctx: Context, share: Labelled) -> float:
    """Return the accuracy of the encoder fine-tuned on the labelled images."""
    return _scored(run, ctx, _teacher(run, ctx, share))


def _teacher(run: LowShot, ctx: Context, share: Labelled) -> Classifier:
    """Return the model fine-tuned on the labelled images in ctx.out; at once if it is finished."""
    recipe, samples = run.recipe.finetuning(share.percent), run.samples.subset(share.indices)
    return finetuned(recipe, ctx, run.machine, run.encoder, samples)


def _self_train(run: LowShot, ctx: Context, share: Labelled) -> float:
    """Return the accuracy of the encoder fine-tuned on images with given and with own labels."""
    found = _kept_labels(run, ctx.out / PSEUDO_LABELS, share)
    if not len(found.indices):
        log.warning("%s: the model is sure of no image; training on the labels alone", ctx.out.name)
    true = run.samples.labels[found.indices]  # for information alone: nothing is trained on these
    run.note(
        ctx.out.name,
        labelled=len(share.indices),
        pseudo_labelled=len(found.indices),
        pseudo_labels_right=round(100.0 * float((true == found.labels).mean()), 2)
        if len(true)
        else None,
    )
    together = relabelled(run.samples, share, found)
    model = finetuned(run.recipe.self_training(), ctx, run.machine, run.encoder, together)
    return _scored(run, ctx, model)


def relabelled(samples: Samples, share: Labelled, found: PseudoLabels) -> Samples:
    """Return the labelled images with their labels and the others found with those found."""
    labels = np.full(len(samples), -1)
    labels[share.indices] = samples.labels[share.indices]
    labels[found.indices] = found.labels
    chosen = np.flatnonzero(labels >= 0)
    return dataclasses.replace(samples.subset(chosen), labels=labels[chosen])


def _kept_labels(run: LowShot, path: Path, share: Labelled) -> PseudoLabels:
    """Return the labels that the fine-tuned model gave, made once: training goes on with those."""
    ranks = run.machine.ranks
    before = ranks.share(_read_labels(path) if ranks.first else None)
    if before is not None:
        return before
    teacher = _teacher(run, run.folder(f"finetune_{share.percent}"), share)
    rest = np.setdiff1d(np.arange(len(run.samples)), share.indices)
    confidence = run.recipe.confidence[PERCENTS.index(share.percent)]
    found = pseudo_labels(teacher, run.samples.subset(rest), confidence, run.machine.evaluators)
    found = ranks.share(PseudoLabels(rest[found.indices], found.labels))
    if ranks.first:
        stream = io.BytesIO()
        np.savez(stream, indices=found.indices, labels=found.labels)
        write_bytes(path, stream.getbuffer())
    return found


def _read_labels(path: Path) -> PseudoLabels | None:
    """Return the labels in the file, None without one."""
    if not path.is_file():
        return None
    with np.load(path) as kept:
        return PseudoLabels(kept["indices"], kept["labels"])


@torch.no_grad()
def pseudo_labels(
    model: Classifier, samples: Samples, confidence: float, ranks: Ranks
) -> PseudoLabels:
    """Return the images whose first class has that probability or more, and that class.

    The samples' own labels are not looked at. Every rank must call it and takes every so many-th
    image; all get the result.
    """
    views = Views(samples, eval_view(model.spec.image_size), seed=0)
    device = next(model.parameters()).device
    model.eval()
    chosen = range(ranks.rank, len(samples), ranks.world)
    rows: list[tuple[float, int]] = []
    for images, _ in eval_batches(views, chosen, unreadable="replace"):
        logits = model(normalize(images.to(device), *model.spec.pixels)).float()
        sure, first = logits.softmax(dim=1).max(dim=1)
        rows += zip(sure.tolist(), first.tolist(), strict=True)
    found = ranks.union(dict(zip(chosen, rows, strict=True)))
    kept = sorted(index for index, (sure, _) in found.items() if sure >= confidence)
    labels = [found[index][1] for index in kept]
    return PseudoLabels(np.array(kept, dtype=np.int64), np.array(labels, dtype=np.int64))


def _scored(run: LowShot, ctx: Context, model: Classifier) -> float:
    """Return the model's accuracy on the validation images; keep predictions and facts."""
    accuracy = score(model, ctx, run.machine).accuracy()
    if run.machine.ranks.first:
        name = ctx.out.name
        known = json.loads((run.ctx.out / FACTS).read_text()).get(name, {})
        own = json.loads((ctx.out / FACTS).read_text()) if (ctx.out / FACTS).exists() else {}
        run.note(name, **known | own)
    return accuracy


def _labels(samples: Samples, device: torch.device) -> Int[Tensor, " images"]:
    """Return the labels on the device."""
    return torch.from_numpy(samples.labels).to(device)


def _read_done(out: Path) -> dict[str, float]:
    """Return the accuracies of the finished parts; none if the file is not there or damaged."""
    try:
        found = json.loads((out / DONE).read_text())
        return {str(name): float(value) for name, value in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _keep_done(run: LowShot, done: dict[str, float], count: int) -> None:
    """Write the accuracies so far, and how far the job is."""
    if run.machine.ranks.first:
        write_json(run.ctx.out / DONE, done)
        append_metrics(run.ctx.out, step=len(done), steps=count)
