"""Classifiers on an ImageNet-style folder: how they are built, fine-tuned and scored."""

import json
import logging
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from mae_bench.core.fidelity import fidelity
from mae_bench.core.files import CLASSIFIER, FACTS, record_facts
from mae_bench.core.recipe import Context
from mae_bench.kit.augment import Mixing, rand_augment, soft_cross_entropy
from mae_bench.kit.classifier import Classifier, Pool
from mae_bench.kit.classifier_file import ClassifierFile, write_classifier
from mae_bench.kit.datasets import Views
from mae_bench.kit.encoder import Encoder, load_exactly, read_encoder
from mae_bench.kit.evaluation import PREDICTIONS, Predictions, predict
from mae_bench.kit.facts import encoder_facts
from mae_bench.kit.fit import at_image_size
from mae_bench.kit.images import eval_view, normalize, train_view
from mae_bench.kit.loop import train
from mae_bench.kit.machine import Machine, start
from mae_bench.kit.optim import groups_table, layer_decay_groups
from mae_bench.kit.randomness import seed_globals
from mae_bench.kit.samples import Samples, read_samples
from mae_bench.kit.training import epoch_training

if TYPE_CHECKING:
    from transfer.imagenet_finetune import ImagenetFinetune

log = logging.getLogger(__name__)


def finetune(recipe: "ImagenetFinetune", ctx: Context) -> dict[str, float]:
    """Train encoder and head together; return the top-1 accuracy of the last weights.

    They are left in ctx.out as a classifier file, for the tasks that come after this one.
    """
    machine = start(ctx.out)
    encoder, samples = inputs(ctx, recipe.image_size, machine)
    model = finetuned(recipe, ctx, machine, encoder, samples)
    predictions = score(model, ctx, machine)
    if machine.ranks.first:
        _leave(recipe, ctx, encoder, model, samples.classes)
    return {"top1": predictions.accuracy()} if machine.ranks.first else {}


def inputs(ctx: Context, image_size: int, machine: Machine) -> tuple[Encoder, Samples]:
    """Return the encoder at that image size and the training images; record what they are.

    Raises ValueError if the validation images are of other classes.
    """
    assert ctx.encoder is not None
    assert ctx.data is not None
    given = read_encoder(ctx.encoder)
    encoder = at_image_size(given, image_size)
    samples, val = read_samples(ctx.data, "train"), read_samples(ctx.data, "val")
    if samples.classes != val.classes:
        odd = sorted(set(samples.classes) ^ set(val.classes))
        raise ValueError(
            f"{ctx.data}: train has {len(samples.classes)} classes and val {len(val.classes)}, "
            f"expected the same; only in one: {', '.join(odd[:3])}"
        )
    counts = {"classes": len(samples.classes), "images": len(samples), "val_images": len(val)}
    if machine.ranks.first:
        record_facts(ctx.out, encoder=encoder_facts(given, encoder), data=counts)
    return encoder, samples


def finetuned(
    recipe: "ImagenetFinetune",
    ctx: Context,
    machine: Machine,
    encoder: Encoder,
    samples: Samples,
) -> Classifier:
    """Return a classifier fine-tuned on the samples in ctx.out, with its last weights.

    Raises ValueError if a parameter's name belongs to no layer.
    """
    model = untrained(recipe, ctx.seed, encoder, len(samples.classes))
    return trained(FineTuning(recipe, model), ctx, machine, samples)


def untrained(
    recipe: "ImagenetFinetune", seed: int, encoder: Encoder, num_classes: int
) -> Classifier:
    """Return what fine-tuning starts from: the encoder, a new fc_norm and a head near zero."""
    seed_globals(seed, "init")
    model = classifier(encoder, num_classes, "avg", recipe.drop_path)
    nn.init.trunc_normal_(model.head.weight, std=2e-5)
    nn.init.zeros_(model.head.bias)
    return model


def trained(module: "FineTuning", ctx: Context, machine: Machine, samples: Samples) -> Classifier:
    """Return the module's classifier after its recipe's training on the samples, in ctx.out.

    What requires no gradient stays as it is. Raises ValueError if a parameter's name belongs to no
    layer.
    """
    recipe, model = module.recipe, module.model
    module = machine.take(module)
    depth = model.spec.depth
    groups = layer_decay_groups(model, depth, recipe.layer_decay, recipe.weight_decay)
    if machine.ranks.first:
        log.info("parameter groups:\n%s", groups_table(groups))
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), fused=True)
    side = recipe.image_size
    view = train_view(
        side, (recipe.crop_scale_min, 1.0), augment=rand_augment(recipe.rand_augment, side)
    )
    views = Views(samples, view, ctx.seed)
    return train(module, optimizer, epoch_training(recipe, ctx, views, machine)).model


def _leave(
    recipe: "ImagenetFinetune",
    ctx: Context,
    encoder: Encoder,
    model: Classifier,
    classes: tuple[str, ...],
) -> None:
    """Write the classifier file, with how its training differs from the published one."""
    stamp = fidelity(recipe, json.loads((ctx.out / FACTS).read_text()))
    content = ClassifierFile(
        model.spec,
        model.state_dict(),
        classes,
        history=(*encoder.history, f"fine-tuned by {recipe.name} from {encoder.sha256[:16]}"),
        deviations=() if isinstance(stamp, str) else tuple(stamp),
    )
    write_classifier(ctx.out / CLASSIFIER, content)


def classifier(
    encoder: Encoder, num_classes: int, pool: Pool, drop_path: float = 0.0
) -> Classifier:
    """Return a classifier whose encoder is exactly the given one.

    With `avg` the encoder's final norm is left out and a new fc_norm put in its place.
    """
    model = Classifier(encoder.spec, num_classes, pool, drop_path)
    if pool == "avg":
        load_exactly(model, encoder.state, new=("fc_norm.", "head."), dropped=("norm.",))
    else:
        load_exactly(model, encoder.state, new=("head.",))
    return model


class FineTuning(nn.Module):
    """The whole classifier under mixup, cutmix, erasing and label smoothing."""

    def __init__(self, recipe: "ImagenetFinetune", model: Classifier) -> None:
        super().__init__()
        self.recipe = recipe
        self.model = model
        self.mixing = Mixing(
            model.head.out_features,
            recipe.mixup,
            recipe.cutmix,
            recipe.label_smoothing,
            recipe.erasing,
        )
        self.micro_multiple = self.mixing.multiple

    def forward(
        self, images: UInt8[Tensor, "batch 3 side side"], labels: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """Return the cross entropy against the mixed targets."""
        mixed, targets = self.mixing(normalize(images, *self.model.spec.pixels), labels)
        return soft_cross_entropy(self.model(mixed), targets)


def score(model: nn.Module, ctx: Context, machine: Machine) -> Predictions:
    """Return the predictions on the validation images and keep them in ctx.out.

    Every rank must call it and takes its part; the first gets and keeps all. With shards only the
    first has whole weights, and the others wait.
    """
    assert ctx.data is not None
    views = Views(read_samples(ctx.data, "val"), eval_view(model.spec.image_size), seed=0)
    predictions = predict(model, views, machine.evaluators)
    if machine.ranks.first:
        predictions.write(ctx.out / PREDICTIONS)
    return predictions
