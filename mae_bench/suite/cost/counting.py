"""What each planned job computes and keeps, counted from its recipe, its encoder and its data."""

from mae_bench.core.fidelity import DATA_SETS
from mae_bench.core.job import Checkpoint, Job
from mae_bench.core.recipe import Recipe
from mae_bench.kit.archs import ARCHS, Arch
from mae_bench.kit.work import Countable, Work
from mae_bench.suite.encoders import spec_in
from mae_bench.suite.plan import DataSizes

DEMO_CLASSES = 8
PUBLISHED = DataSizes()
"""Nothing is known but what the papers' data sets have."""


def work_of(job: Job, sizes: DataSizes) -> Work | None:
    """Return the job's work on its data, as large as it is known to be.

    None if its recipe does not say or its encoder's shape is unknown.
    """
    arch = encoder_arch(job)
    return None if arch is None else recipe_work(job.recipe, arch, sizes, job.data_fingerprint)


def recipe_work(
    recipe: Recipe, arch: Arch, sizes: DataSizes = PUBLISHED, data: str = ""
) -> Work | None:
    """Return the work of a recipe with an encoder of that shape, None if it does not say.

    `data` is the fingerprint of its data.
    """
    if not isinstance(recipe, Countable):
        return None
    return recipe.work(arch, counts(recipe, sizes, data))


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


def counts(recipe: Recipe, sizes: DataSizes = PUBLISHED, data: str = "") -> dict[str, int]:
    """Return how many images and classes the recipe's data has: as counted where it was.

    Else the demo's, or as published. `data` is its fingerprint.
    """
    own = sizes.counted.get(data, {})
    if sizes.demo is None or own:
        return {**(DATA_SETS.get(recipe.name) or DATA_SETS.get(recipe.dataset, {})), **own}
    scenes = recipe.dataset != "imagenet"
    train = sizes.demo.num_train_scenes if scenes else sizes.demo.num_train_images
    val = sizes.demo.num_val_scenes if scenes else sizes.demo.num_val_images
    return {"classes": DEMO_CLASSES, "images": train, "val_images": val, "test_images": val}
