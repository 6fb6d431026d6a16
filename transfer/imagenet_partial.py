"""Partial fine-tuning on ImageNet classification: the recipe; see partial.py."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from mae_bench.core.recipe import Context, Curve, Metric, Resources, require
from mae_bench.kit.archs import PAPER_ARCHS, Arch
from mae_bench.kit.work import Cost, Work, encoder_multiply_adds, forward_flops, training_flops
from transfer.imagenet_finetune import ImagenetFinetune

BLOCKS = ("0", "0.5", "1", "2", "4", "6", "12", "18", "all")
"""How many of the last blocks are trained in Fig. 9; 0.5 is the MLP of the last one."""


def metric_name(blocks: str) -> str:
    """Return the metric's name for that number of blocks, such as top1_0p5."""
    return f"top1_{blocks.replace('.', 'p')}"


@dataclass(frozen=True, kw_only=True)
class ImagenetPartial(ImagenetFinetune):
    """Fine-tuning of the last blocks alone, He et al. 2021 (arXiv 2111.06377), 4.3 and Fig. 9.

    Each number of blocks is a training of its own with the settings of Table 9, which belong to
    weights from un-normalised pixels. The paper takes for each the best of 50, 100 and 200 epochs;
    here all have the same. fc_norm and head are new, so they are always trained: with 0 blocks they
    alone, where the paper's figure has its linear probe. `all` trains the embeddings too. A number
    that is not below the encoder's depth does not exist: it would be `all`.
    """

    name: ClassVar[str] = "imagenet_partial"
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[Metric, ...]] = tuple(
        Metric(
            metric_name(blocks),
            f"partial {blocks} top-1",
            optional=True,
            protocol="imagenet-partial",
        )
        for blocks in BLOCKS
    )
    curve: ClassVar[Curve] = Curve(
        "partial fine-tuning",
        "last blocks trained (0.5: the MLP of the last one)",
        tuple((metric_name(blocks), blocks) for blocks in BLOCKS),
    )
    published_archs: ClassVar[tuple[str, ...]] = PAPER_ARCHS
    published_costs: ClassVar[tuple[Cost, ...]] = ()
    resources: ClassVar[Resources] = Resources(gpus=32, hours=100.0, demo_seconds=120.0)

    blocks: tuple[str, ...] = BLOCKS
    """Numbers of last blocks to train, each in a run of its own, among those of Fig. 9."""
    epochs: int = 100
    """Passes over the training images, for each number of blocks."""
    lr_per_256: float = 1e-3
    layer_decay: float = 0.75
    erasing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        distinct = len(set(self.blocks)) == len(self.blocks) > 0
        known = set(self.blocks) <= set(BLOCKS)
        require(self, "blocks", f"distinct among {', '.join(BLOCKS)}", distinct and known)

    @classmethod
    def published(cls, arch: str, origin: str) -> Self:
        """Return Table 9's values with the middle of the paper's 50, 100 and 200 epochs.

        The paper shows ViT-L; the table has drop path 0.2 for ViT-H and the same else.
        """
        return dataclasses.replace(cls(), drop_path=0.2 if arch == "vit_huge_patch14" else 0.1)

    @classmethod
    def demo(cls) -> Self:
        """Return the size for two CPU cores: fine-tuning's, four times over."""
        return dataclasses.replace(super().demo(), blocks=("0", "0.5", "1", "all"))

    @classmethod
    def lite(cls, arch: str, origin: str) -> Self:
        """Return 50 epochs, the shortest of the paper's 50, 100 and 200 (4.3)."""
        return dataclasses.replace(cls.published(arch, origin), epochs=50)

    def work(self, arch: Arch, data: Mapping[str, int]) -> Work:
        """Return the work of each number of blocks; what is frozen has a forward pass alone."""
        image = encoder_multiply_adds(arch, self.image_size)
        images = self.epochs * data["images"]
        one = super().work(arch, data)
        flops = 0.0
        for blocks in self.blocks:
            share = 1.0 if blocks == "all" else float(blocks) / arch.depth
            if share > 1 or (share == 1 and blocks != "all"):
                continue
            trained = training_flops(images, image * share)
            frozen = forward_flops(images, image * (1 - share))
            flops += trained + frozen + forward_flops(data["val_images"], image)
        runs = len(self.blocks)
        rest = (runs - 1) * 2 * one.checkpoint_bytes
        return dataclasses.replace(one, flops=flops, left_bytes=runs * one.left_bytes + rest)

    def run(self, ctx: Context) -> dict[str, float]:
        """Return the top-1 accuracy of the last epoch's weights for each number of blocks."""
        from transfer.partial import partial

        return partial(self, ctx)
