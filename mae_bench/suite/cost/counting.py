"""What each planned job computes and keeps, counted from its recipe, its encoder and its data."""

from mae_bench.core.demo_data import DemoData
from mae_bench.core.fidelity import DATA_SETS
from mae_bench.core.job import Checkpoint, Job
from mae_bench.core.recipe import Recipe
from mae_bench.kit.archs import ARCHS, Arch
from mae_bench.kit.work import Countable, Work
from mae_bench.suite.encoders import spec_in

DEMO_CLASSES = 8


def work_of(job: Job, sizes: DemoData | None) -> Work | None:
    """Return the job's work on demo data of those sizes, or on data as large as the published.

    None if its recipe does not say or its encoder's shape is unknown.
    """
    arch = encoder_arch(job)
    return None if arch is None else recipe_work(job.recipe, arch, sizes)


def recipe_work(recipe: Recipe, arch: Arch, sizes: DemoData | None) -> Work | None:
    """Return the work of a recipe with an encoder of that shape, None if it does not say."""
    if not isinstance(recipe, Countable):
        return None
    return recipe.work(arch, counts(recipe, sizes))


def encoder_arch(job: Job) -> Arch | None:
    """Return the shape of the encoder that the job makes or measures, None if it is not known."""
    first = _first(job)
    if isinstance(first, Job):
        return ARCHS.get(job_arch(job))
    spec = spec_in(first.path) or {}
    try:
        return Arch(*(int(spec[name]) for name in ("width", "depth", "heads", "patch_size")))
    except (KeyError, TypeError, ValueError):
        return None


def job_arch(job: Job) -> str:
    """Return the name of the encoder's size, as results have it; empty if it has none."""
    first = _first(job)
    if isinstance(first, Job):
        return str(getattr(first.recipe, "arch", ""))
    return str((spec_in(first.path) or {}).get("arch", ""))


def _first(job: Job) -> Job | Checkpoint:
    """Return the job or file that the encoder comes from, the job itself if it makes it."""
    source: Job | Checkpoint = job
    while isinstance(source, Job) and source.source is not None:
        source = source.source
    return source


def counts(recipe: Recipe, sizes: DemoData | None) -> dict[str, int]:
    """Return how many images and classes the recipe's data has: the demo's, or as published.

    Data of another size is not counted; what is measured or calibrated on it is right all the same,
    since it is scaled within that data alone.
    """
    if sizes is None:
        return dict(DATA_SETS.get(recipe.name) or DATA_SETS.get(recipe.dataset, {}))
    scenes = recipe.dataset != "imagenet"
    train = sizes.num_train_scenes if scenes else sizes.num_train_images
    val = sizes.num_val_scenes if scenes else sizes.num_val_images
    return {"classes": DEMO_CLASSES, "images": train, "val_images": val, "test_images": val}
