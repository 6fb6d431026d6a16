"""The masked autoencoder: an encoder sees few patches, a small decoder paints the rest."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from mae_bench.kit.datasets import Views, eval_batches, read_samples
from mae_bench.kit.encoder import encoder_shapes
from mae_bench.kit.images import View, eval_view, normalize, train_view
from mae_bench.kit.pos_embed import sincos_pos_embed
from mae_bench.kit.randomness import generator
from mae_bench.kit.spec import named_spec
from mae_bench.kit.vit import (
    NORM_EPS,
    VisionTransformer,
    gather_tokens,
    init_weights,
    make_block,
)
from pretrain.pixels import target
from pretrain.reconstruct import save_reconstructions

if TYPE_CHECKING:
    from pretrain.mae import MAE


class MAEObjective(VisionTransformer):
    """MAE of He et al. 2021, sec. 3; parameter names are those of the released checkpoints.

    Only visible patches are embedded and only masked ones predicted and scored; the decoder takes
    its tokens in any order, since each brings its own position.
    """

    def __init__(self, recipe: "MAE") -> None:
        super().__init__(named_spec(recipe.arch, recipe.image_size, origin=recipe.name))
        self.recipe = recipe
        self.pos_embed.requires_grad_(False)
        width = recipe.decoder_width
        self.decoder_embed = nn.Linear(self.spec.width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        positions = sincos_pos_embed(width, self.spec.grid)
        self.decoder_pos_embed = nn.Parameter(positions, requires_grad=False)
        depth, heads = recipe.decoder_depth, recipe.decoder_heads
        self.decoder_blocks = nn.ModuleList(make_block(width, heads) for _ in range(depth))
        self.decoder_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.decoder_pred = nn.Linear(width, self.spec.patch_size**2 * 3)
        init_weights(self)

    def view(self) -> View:
        """Return random crop and flip, nothing else (paper, sec. 4.1, data augmentation)."""
        return train_view(self.recipe.image_size, (self.recipe.crop_scale_min, 1.0))

    def forward(
        self, images: UInt8[Tensor, "batch 3 side side"], labels: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """Return the loss under a mask drawn from the global generator; labels are not used."""
        noise = torch.rand(len(images), self.spec.grid**2, device=images.device)
        return self.loss(normalize(images), noise)

    def loss(
        self,
        images: Float[Tensor, "batch 3 side side"],
        noise: Float[Tensor, "batch patches"],
    ) -> Float[Tensor, ""]:
        """Return the mean squared error over the masked patches (sec. 3, reconstruction target)."""
        visible, masked = self.split(noise)
        predicted = self.decode(self.norm(self.encode(images, visible)), visible, masked)
        wanted = gather_tokens(target(images, self.spec.patch_size, self.recipe.norm_pix), masked)
        return (predicted.float() - wanted).square().mean()

    def split(
        self, noise: Float[Tensor, "batch patches"]
    ) -> tuple[Int[Tensor, "batch visible"], Int[Tensor, "batch masked"]]:
        """Return the patches to keep, those with the lowest noise, and the others."""
        order = noise.argsort(dim=1)
        num_visible = int(noise.shape[1] * (1 - self.recipe.mask_ratio))
        return order[:, :num_visible], order[:, num_visible:]

    def decode(
        self,
        latent: Float[Tensor, "batch encoded width"],
        visible: Int[Tensor, "batch visible"],
        masked: Int[Tensor, "batch masked"],
    ) -> Float[Tensor, "batch masked pixels"]:
        """Return the predicted pixels of the masked patches, channel last inside a patch."""
        batch = len(latent)
        hidden = self.mask_token.expand(batch, masked.shape[1], -1)
        tokens = torch.cat([self.decoder_embed(latent), hidden.to(latent.dtype)], dim=1)
        cls_place = torch.zeros(batch, 1, dtype=visible.dtype, device=visible.device)
        places = torch.cat([cls_place, visible + 1, masked + 1], dim=1)
        positions = self.decoder_pos_embed.expand(batch, -1, -1)
        tokens = tokens + gather_tokens(positions, places)
        for block in self.decoder_blocks:
            tokens = block(tokens)
        return self.decoder_pred(self.decoder_norm(tokens[:, -masked.shape[1] :]))

    def encoder_state(self) -> dict[str, Tensor]:
        """Return the encoder without the decoder."""
        names = encoder_shapes(self.spec)
        return {name: tensor for name, tensor in self.state_dict().items() if name in names}

    def after_step(self, progress: float) -> None:
        """Do nothing: no weights follow others in MAE."""

    @torch.no_grad()
    def finish(self, data: Path, out: Path) -> dict[str, float]:
        """Return the loss on the validation images under fixed masks; leave reconstructions."""
        self.eval()
        device = self.cls_token.device
        views = Views(read_samples(data, "val"), eval_view(self.recipe.image_size), seed=0)
        total, seen = 0.0, 0
        for images, _ in eval_batches(views):
            noise = torch.rand(len(images), self.spec.grid**2, generator=generator(0, "mask", seen))
            loss = self.loss(normalize(images.to(device)), noise.to(device))
            total += loss.item() * len(images)
            seen += len(images)
        save_reconstructions(self, views, out / "figures" / "reconstructions.png")
        return {"loss": total / seen}
