"""Segmentation in mmsegmentation: its UperNet and mmengine's Runner, driven by a recipe."""

from typing import TYPE_CHECKING, Any

from mae_bench.core.files import record_facts
from mae_bench.core.recipe import Context
from mae_bench.kit.encoder import Encoder, read_encoder
from mae_bench.kit.facts import encoder_facts
from mae_bench.kit.machine import start
from mae_bench.kit.randomness import seed_globals
from transfer.mmseg_adapter.data import build_dataset
from transfer.mmseg_adapter.model import DROPPED, build_segmenter, fitted, model_config
from transfer.mmseg_adapter.rules import training_dtype
from transfer.mmseg_adapter.toolbox import import_mmseg

if TYPE_CHECKING:
    from transfer.segmentation import SegmentationRecipe


def segment(recipe: "SegmentationRecipe", ctx: Context) -> dict[str, float]:
    """Train the segmenter on ctx.data from ctx.encoder; return the mean IoU in percent.

    Called on every rank; only the first returns numbers and writes files.
    """
    assert ctx.data is not None
    assert ctx.encoder is not None
    machine = start(ctx.out)
    training_dtype(recipe, machine)  # refuses before anything is built
    import_mmseg()
    from transfer.mmseg_adapter.evaluation import evaluate
    from transfer.mmseg_adapter.resolved import CONFIG, run_config, save_weights, write_config
    from transfer.mmseg_adapter.training import Training, train

    given = read_encoder(ctx.encoder)
    encoder, names = fitted(given, recipe), recipe.class_names(ctx.data)
    images, test_images = (build_dataset(recipe, ctx.data, part) for part in ("train", "test"))
    seed_globals(ctx.seed, "init")
    config = model_config(recipe, encoder, len(names))
    segmenter = build_segmenter(config, encoder)
    if machine.ranks.first:
        counts = {"classes": len(names), "images": len(images), "val_images": len(test_images)}
        facts = {"encoder": encoder_facts(given, encoder), "arrived": _arrived(encoder)}
        record_facts(ctx.out, **facts, data=counts)
    split = train(segmenter, Training(recipe, ctx, machine, images))
    if machine.ranks.first:
        rest = run_config(recipe, ctx.data, segmenter, machine, split)
        write_config(ctx.out / CONFIG, config, rest, recipe.iterations)
        meta = {"dataset_meta": {"classes": list(names)}, "iter": recipe.iterations}
        save_weights(ctx.out / f"iter_{recipe.iterations}.pth", segmenter, meta)
    return evaluate(recipe, segmenter, test_images, ctx, machine)


def _arrived(encoder: Encoder) -> dict[str, Any]:
    """Return what load_exactly proved: tensors in the backbone, and those without a place."""
    dropped = sorted(name for name in encoder.state if name.startswith(DROPPED))
    return {"tensors": len(encoder.state) - len(dropped), "dropped": dropped}
