"""The suites that have a name: demo, demo-ssl, smoke and full."""

from collections.abc import Callable
from pathlib import Path

from mae_bench.core.demo_data import DemoData
from mae_bench.core.recipe import Scalar, unknown
from mae_bench.suite.suite import Column, Row, Suite, made_row, read_suite
from mae_bench.suite.tier import FULL
from mae_bench.suite.tiers import at_tier

CLASSIFICATION = ("imagenet_finetune", "imagenet_linear")
DENSE = ("coco_vitdet", "ade20k_upernet")
SIAMESE = {
    "MoCo v3": "moco_v3",
    "SimSiam": "simsiam",
    "SimCLR": "simclr",
    "BYOL": "byol",
    "MoCo v2": "moco_v2",
}
"""Row -> objective."""
SMOKE_ENCODER: dict[str, Scalar] = {"arch": "vit_smoke_patch8"}
SMOKE_FIELDS: dict[str, dict[str, Scalar]] = {
    "imagenet_finetune": {"epochs": 2, "batch_size": 32},
    "imagenet_linear": {"epochs": 2, "batch_size": 32},
    "coco_vitdet": {"iterations": 6, "warmup_iterations": 2, "batch_size": 4},
    "ade20k_upernet": {"iterations": 6, "warmup_iterations": 2, "batch_size": 4},
}


def demo() -> Suite:
    """Return MAE, supervised and random init on all four tasks, sized for two CPU cores."""
    return Suite(
        name="demo",
        rows=(
            made_row("MAE", "mae", "demo", {}),
            made_row("Supervised", "supervised", "demo", {}, seeds="each", own=CLASSIFICATION[:1]),
            made_row("Random init", "random_init", "demo", {}, seeds="each"),
        ),
        columns=(
            *(Column(task, "demo") for task in CLASSIFICATION),
            *(Column(task, "demo", seeds=(0,)) for task in DENSE),
        ),
        seeds=(0, 1),
        demo_data=DemoData(),
    )


def demo_ssl() -> Suite:
    """Return every objective on both classification tasks; what the demo has too are its jobs."""
    mae, *others = demo().rows
    siamese = (made_row(label, name, "demo", {}) for label, name in SIAMESE.items())
    return Suite(
        name="demo-ssl",
        rows=(mae, *siamese, *others),
        columns=tuple(Column(task, "demo") for task in CLASSIFICATION),
        seeds=(0, 1),
        demo_data=DemoData(),
    )


def smoke() -> Suite:
    """Return the demo's rows and columns, each trained for a few steps on a few images."""
    trained = {**SMOKE_ENCODER, "epochs": 2, "warmup_epochs": 1, "batch_size": 32}
    narrow: dict[str, dict[str, tuple[int, ...]]] = {"coco_vitdet": {"milestones": (5,)}}
    return Suite(
        name="smoke",
        rows=(
            made_row("MAE", "mae", "demo", trained),
            made_row("Supervised", "supervised", "demo", trained, own=CLASSIFICATION[:1]),
            made_row("Random init", "random_init", "demo", SMOKE_ENCODER),
        ),
        columns=tuple(
            Column(task, "demo", {**SMOKE_FIELDS[task], **narrow.get(task, {})})
            for task in (*CLASSIFICATION, *DENSE)
        ),
        seeds=(0,),
        demo_data=DemoData(
            num_train_images=128,
            num_val_images=64,
            num_train_scenes=32,
            num_val_scenes=8,
        ),
    )


def full() -> Suite:
    """Return the paper's comparison: three sizes, three inits, five tasks, published recipes.

    ViTDet's detector stands beside the paper's own, in columns of its own. The paper repeats
    fine-tuning with other seeds; the long dense protocols run once. As in the paper, the supervised
    row's fine-tuning is the accuracy of its own training.
    """
    rows: list[Row] = []
    for arch, size in (
        ("vit_base_patch16", "ViT-B"),
        ("vit_large_patch16", "ViT-L"),
        ("vit_huge_patch14", "ViT-H"),
    ):
        rows += [
            made_row(f"MAE {size}", "mae", "published", {"arch": arch}),
            made_row(
                f"Supervised {size}",
                "supervised",
                "published",
                {"arch": arch},
                own=CLASSIFICATION[:1],
            ),
            made_row(f"Random init {size}", "random_init", "published", {"arch": arch}),
        ]
    return Suite(
        name="full",
        rows=tuple(rows),
        columns=(
            Column("imagenet_finetune", seeds=(0, 1, 2)),
            *(
                Column(task, seeds=(0,))
                for task in ("imagenet_linear", "coco_maskrcnn_fpn", *DENSE)
            ),
        ),
        seeds=(0,),
    )


def named_suite(name: str, store: Path, tier: str = FULL) -> Suite:
    """Return the preset or the suite in the TOML file of that name, at that tier.

    `store` takes conversions of foreign checkpoints. Raises ValueError for unknown names.
    """
    if name in PRESETS:
        return at_tier(PRESETS[name](), tier)
    if name.endswith(".toml"):
        return at_tier(read_suite(Path(name), store), tier)
    raise ValueError(unknown("suite", name, PRESETS) + " (or pass a .toml file)")


PRESETS: dict[str, Callable[[], Suite]] = {
    "demo": demo,
    "demo-ssl": demo_ssl,
    "smoke": smoke,
    "full": full,
}
