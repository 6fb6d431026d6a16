"""Two views through one network, and through another that follows it: what siamese losses see."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from mae_bench.core.files import record_facts
from mae_bench.kit.colour import DRAWS, Colours, recolour
from mae_bench.kit.contrast import Queue
from mae_bench.kit.datasets import Views, eval_batches
from mae_bench.kit.figures import drawing
from mae_bench.kit.images import View, crops_view, eval_view, normalize
from mae_bench.kit.momentum import MomentumSchedule, follow, follower, momentum_at
from mae_bench.kit.samples import read_samples
from mae_bench.kit.spec import EncoderSpec, named_spec
from mae_bench.kit.spread import collapse, effective_rank, output_std
from mae_bench.kit.vit import VisionTransformer, init_weights
from pretrain.view_figure import save_views

if TYPE_CHECKING:
    from pretrain.siamese import SiameseRecipe

log = logging.getLogger(__name__)

MOST_WATCHED = 256
"""Outputs that are looked at while training."""


class Branch(nn.Module):
    """An encoder and the projector behind its pooled token."""

    def __init__(self, spec: EncoderSpec, projector: nn.Module) -> None:
        super().__init__()
        self.encoder = VisionTransformer(spec)
        self.encoder.pos_embed.requires_grad_(False)
        start_weights(self.encoder)
        self.projector = projector
        self.chunk = 0
        """Images whose activations are kept at a time; 0 for all."""

    def forward(self, images: UInt8[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch width"]:
        """Return the projections of the images, whose BatchNorm sees all of them."""
        return self.projector(self.features(images))

    def features(self, images: UInt8[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch width"]:
        """Return the pooled tokens; in training no more than a chunk's activations are kept.

        Each chunk is computed again when its gradient is due. Gradients are those of one pass, for
        nothing in the encoder mixes images (GradCache, Gao et al. 2021, arXiv 2101.06983).
        """
        parts = images.split(self.chunk or len(images))
        trained = torch.is_grad_enabled() and self.encoder.norm.weight.requires_grad
        if len(parts) == 1 or not trained:
            return torch.cat([self.pooled(part) for part in parts])
        return torch.cat([checkpoint(self.pooled, part, use_reentrant=False) for part in parts])

    def pooled(self, images: UInt8[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch width"]:
        """Return the pooled tokens of one pass."""
        return self.encoder.pooled(self.encoder(normalize(images)))


class Siamese(nn.Module):
    """The networks of a siamese objective; how their outputs are compared is the recipe's `loss`.

    `online` is trained, `momentum` follows it where there is one, and `predictor` stands behind
    `online` where there is one.
    """

    num_crops = 2

    def __init__(
        self,
        recipe: "SiameseRecipe",
        projector: nn.Module,
        predictor: nn.Module | None = None,
        momentum: tuple[float, MomentumSchedule] | None = None,
        queue: Queue | None = None,
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.spec = named_spec(recipe.arch, recipe.image_size, origin=recipe.name)
        self.online = Branch(self.spec, projector)
        self.online.encoder.patch_embed.requires_grad_(not recipe.freeze_patch_embed)
        self.predictor = predictor
        self.momentum_schedule = momentum
        self.momentum = None if momentum is None else follower(self.online)
        self.queue = queue
        self.outputs: Tensor | None = None
        """Some projections of the last step."""
        self.patch_gradient: Tensor | None = None
        """Norm of the patch embedding's gradient in the last step."""
        self.progress = 0.0
        """Share of the training that is done."""
        self.warned = False
        """Whether a collapse was told of."""

    def view(self) -> View:
        """Return two random crops and flips; colours change on the device."""
        return crops_view(self.recipe.image_size, (self.recipe.crop_scale_min, 1.0), self.num_crops)

    def noise(self, batch_size: int) -> Float[Tensor, "batch 2 draws"]:
        """Return what decides the colours of a whole batch, from the global CPU generator."""
        return torch.rand(batch_size, self.num_crops, DRAWS)

    def forward(
        self,
        crops: UInt8[Tensor, "batch 2 3 side side"],
        noise: Float[Tensor, "batch 2 draws"],
    ) -> Float[Tensor, ""]:
        """Return the recipe's loss on the two views of each image."""
        return self.recipe.loss(self, *self.coloured(crops, noise))

    def coloured(
        self,
        crops: UInt8[Tensor, "batch 2 3 side side"],
        noise: Float[Tensor, "batch 2 draws"],
    ) -> tuple[UInt8[Tensor, "batch 3 side side"], UInt8[Tensor, "batch 3 side side"]]:
        """Return the two views as the network sees them."""
        first, second = (
            recolour(crops[:, index], noise[:, index], self.colours(index)) for index in (0, 1)
        )
        return first, second

    def colours(self, index: int) -> Colours:
        """Return how the colours of the first or second views change."""
        recipe = self.recipe
        return Colours(
            recipe.jitter,
            recipe.jitter_probability,
            recipe.grey_probability,
            recipe.blur_probability[index],
            recipe.solarize_probability[index],
            recipe.blur_sigma,
        )

    def project(self, images: UInt8[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch width"]:
        """Return the trained projections of one view, and note them for `signs`."""
        projected = self.online(images)
        self.outputs = projected.detach()[:MOST_WATCHED]
        return projected

    def predict(self, projected: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        """Return the predictor's outputs; without one the projections themselves."""
        return projected if self.predictor is None else self.predictor(projected)

    @property
    def chunk(self) -> int:
        """Images of a view whose activations are kept at a time; 0 for all."""
        return self.online.chunk

    @chunk.setter
    def chunk(self, images: int) -> None:
        for branch in (self.online, self.momentum):
            if branch is not None:
                branch.chunk = images

    def compile(self, *words: Any, **settings: Any) -> None:
        """Compile the encoders alone: the losses speak with other ranks."""
        for branch in (self.online, self.momentum):
            if branch is not None:
                branch.encoder.compile(*words, **settings)

    @property
    def training_flops(self) -> int:
        """Return the FLOPs of forward and backward pass for one image, a multiply-add being two."""
        return self.recipe.training_flops

    @torch.no_grad()
    def before_step(self) -> None:
        """Note the norm of the patch embedding's gradient, which jumps before training breaks."""
        gradient = self.online.encoder.patch_embed.proj.weight.grad
        norm = None if gradient is None else gradient.norm()
        self.patch_gradient = norm.full_tensor() if isinstance(norm, DTensor) else norm

    def signs(self) -> dict[str, float]:
        """Return how far the outputs are from collapse, and the patch embedding's gradient.

        Reads the outputs back from the device: for log lines, not every step. What is not finite
        is left out, as the step was.
        """
        found = {}
        if self.outputs is not None and self.outputs.isfinite().all():
            found = spread_of(self.outputs)
            self._warn(collapse(**found))
        if self.patch_gradient is not None and self.patch_gradient.isfinite():
            found["patch_embed_gradient"] = float(self.patch_gradient)
        return found

    def _warn(self, collapsed: str) -> None:
        """Say once that the outputs have collapsed, if they have."""
        if collapsed and not self.warned:
            self.warned = True
            log.warning(
                "outputs have collapsed after %.1f %% of the training: %s; unless that is wanted, "
                "stop it and look at stop-gradient, momentum and learning rate "
                "(docs/objectives.md, Collapse)",
                100 * self.progress,
                collapsed,
            )

    def after_step(self, progress: float) -> None:
        """Let the other network follow, and the queue take this step's keys."""
        self.progress = progress
        if self.momentum is not None:
            assert self.momentum_schedule is not None
            follow(self.momentum, self.online, momentum_at(progress, *self.momentum_schedule))
        if self.queue is not None:
            self.queue.push()

    def encoder_state(self) -> dict[str, Tensor]:
        """Return the trained encoder."""
        return self.online.encoder.state_dict()

    @torch.no_grad()
    def finish(self, data: Path, out: Path) -> dict[str, float]:
        """Return how spread the projections of the validation images are; note a collapse."""
        self.eval()
        views = Views(read_samples(data, "val"), eval_view(self.recipe.image_size), seed=0)
        device = self.online.encoder.cls_token.device
        outputs = torch.cat([self.online(images.to(device)) for images, _ in eval_batches(views)])
        metrics = spread_of(outputs)
        found = collapse(**metrics)
        if found:
            log.warning("the outputs of the validation images have collapsed: %s", found)
            record_facts(out, collapsed=found)
        with drawing(out, "views.png") as path:
            save_views(self, data, path)
        return metrics


def spread_of(outputs: Float[Tensor, "images width"]) -> dict[str, float]:
    """Return the std and the effective rank of outputs, under the metrics' names."""
    return {"output_std": output_std(outputs), "effective_rank": effective_rank(outputs)}


def start_weights(encoder: VisionTransformer) -> None:
    """Initialise as MAE's encoder, but queries, keys and values as a matrix each, as MoCo v3."""
    init_weights(encoder)
    nn.init.normal_(encoder.cls_token, std=1e-6)
    for name, parameter in encoder.named_parameters():
        if name.endswith("attn.qkv.weight"):
            for part in parameter.data.chunk(3):
                nn.init.xavier_uniform_(part)
