"""k-nearest-neighbour classification on ImageNet without training: the recipe; see knn.py."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from mae_bench.core.recipe import Context, Metric, Resources, require
from mae_bench.kit.archs import PAPER_ORIGINS, Arch
from mae_bench.kit.work import Work, encoder_multiply_adds, forward_flops


@dataclass(frozen=True, kw_only=True)
class ImagenetKnn:
    """Votes of the nearest training images, Caron et al. 2021 (arXiv 2104.14294), section 4.1.

    Cosine similarity of the pooled tokens after the final norm, votes weighted by
    exp(cosine / temperature) as by Wu et al. 2018 (arXiv 1805.01978); both splits in the test view,
    nothing augmented. The paper's numbers are those of 20 neighbours. With fewer training images
    than neighbours all of them vote, and the result says so.
    """

    name: ClassVar[str] = "imagenet_knn"
    version: ClassVar[int] = 1
    dataset: ClassVar[str] = "imagenet"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("knn20", "20-NN top-1", per_image="correct", protocol="imagenet-knn"),
        Metric("knn10", "10-NN top-1"),
        Metric("knn100", "100-NN top-1"),
        Metric("knn200", "200-NN top-1"),
    )
    apart: ClassVar[tuple[str, ...]] = ("image_size",)
    resources: ClassVar[Resources] = Resources(gpus=1, hours=0.5, demo_seconds=7.0)
    after: ClassVar[str] = ""
    published_origins: ClassVar[tuple[str, ...]] = (*PAPER_ORIGINS, "dino", "dinov2")
    published_archs: ClassVar[tuple[str, ...]] = (
        # Caron et al. 2021, Table 2; Oquab et al. 2023 (arXiv 2304.07193), Table 4, by the same
        # protocol, the reference code's MAE among them.
        "vit_small_patch16",
        "vit_small_patch8",
        "vit_base_patch16",
        "vit_base_patch8",
        "vit_large_patch16",
        "vit_small_patch14",
        "vit_base_patch14",
        "vit_large_patch14",
        "vit_huge_patch14",
    )

    image_size: int = 224
    """Side of the images in pixels; positions are resized if the encoder's differ."""
    temperature: float = 0.07
    """What cosines are divided by before the exponential that weights a vote, above 0."""

    def __post_init__(self) -> None:
        require(self, "image_size", ">= 1", self.image_size >= 1)
        # Below 0.002 the weight of a cosine of 1 is beyond a float64.
        require(self, "temperature", ">= 0.002", self.temperature >= 0.002)

    @classmethod
    def published(cls, arch: str, origin: str) -> Self:
        """Return the paper's values: the same for all encoders."""
        return cls()

    @classmethod
    def demo(cls) -> Self:
        """Return the size for two CPU cores."""
        return dataclasses.replace(cls(), image_size=64)

    def work(self, arch: Arch, data: Mapping[str, int]) -> Work:
        """Return one forward pass over both splits, and the products of their features."""
        images, queries = data["images"], data["val_images"]
        forward = forward_flops(images + queries, encoder_multiply_adds(arch, self.image_size))
        return Work(
            forward + forward_flops(queries, images * arch.width), left_bytes=100.0 * queries
        )

    def run(self, ctx: Context) -> dict[str, float]:
        """Return the top-1 accuracy of 10, 20, 100 and 200 neighbours."""
        from transfer.knn import nearest_neighbours

        return nearest_neighbours(self, ctx)
