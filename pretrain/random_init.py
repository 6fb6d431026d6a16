"""The baseline that saw no data: a freshly initialised encoder."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from mae_bench.core.files import ENCODER, append_metrics, record_facts
from mae_bench.core.recipe import Context, Metric, Resources, require, unknown
from mae_bench.kit.archs import ARCHS, Arch
from mae_bench.kit.work import FLOAT_BYTES, Work, encoder_parameters


@dataclass(frozen=True, kw_only=True)
class RandomInit:
    """An encoder as MAE initialises it (He et al. 2021, A.1: Xavier uniform), never trained."""

    name: ClassVar[str] = "random_init"
    version: ClassVar[int] = 1
    dataset: ClassVar[str] = ""
    after: ClassVar[str] = ""
    metrics: ClassVar[tuple[Metric, ...]] = ()
    resources: ClassVar[Resources] = Resources(gpus=0, hours=0.01, demo_seconds=5.0)
    published_origins: ClassVar[tuple[str, ...]] = ()
    published_archs: ClassVar[tuple[str, ...]] = tuple(ARCHS)

    arch: str = "vit_large_patch16"
    """Encoder size, one of `mae-bench list`."""
    image_size: int = 224
    """Side in pixels that the position embedding is made for."""

    def __post_init__(self) -> None:
        if self.arch not in ARCHS:
            raise ValueError(unknown("arch", self.arch, ARCHS))
        size = ARCHS[self.arch].patch_size
        fits = self.image_size > 0 and self.image_size % size == 0
        require(self, "image_size", f"a positive multiple of the patch size {size}", fits)

    @classmethod
    def published(cls, arch: str, origin: str) -> Self:
        """Return that size at 224 pixels."""
        return dataclasses.replace(cls(), arch=arch)

    @classmethod
    def demo(cls) -> Self:
        """Return the demo's encoder."""
        return dataclasses.replace(cls(), arch="vit_demo_patch8", image_size=64)

    def work(self, arch: Arch, data: Mapping[str, int]) -> Work:
        """Return the encoder file, which is all that there is."""
        return Work(0.0, left_bytes=float(FLOAT_BYTES * encoder_parameters(arch, self.image_size)))

    def run(self, ctx: Context) -> dict[str, float]:
        """Write the encoder file; there is nothing to measure."""
        from mae_bench.kit.encoder import read_encoder, write_encoder
        from mae_bench.kit.facts import encoder_facts
        from mae_bench.kit.randomness import seed_globals
        from mae_bench.kit.spec import named_spec
        from mae_bench.kit.vit import VisionTransformer, init_weights

        seed_globals(ctx.seed, "init")
        spec = named_spec(self.arch, self.image_size, origin=self.name)
        model = VisionTransformer(spec)
        init_weights(model)
        write_encoder(ctx.out / ENCODER, spec, model.state_dict())
        record_facts(ctx.out, encoder=encoder_facts(read_encoder(ctx.out / ENCODER)))
        append_metrics(ctx.out, step=1, steps=1)
        return {}
