"""The masked autoencoder: an encoder sees few patches, a small decoder paints the rest."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int, UInt8
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mae_bench.kit.datasets import Views, eval_batches
from mae_bench.kit.encoder import encoder_shapes
from mae_bench.kit.images import View, eval_view, normalize, train_view
from mae_bench.kit.pos_embed import sincos_pos_embed
from mae_bench.kit.randomness import generator
from mae_bench.kit.samples import read_samples
from mae_bench.kit.spec import named_spec
from mae_bench.kit.vit import (
    NORM_EPS,
    TailBlock,
    VisionTransformer,
    gather_tokens,
    init_weights,
    make_block,
    run_blocks,
)
from pretrain.masking import patch_order
from pretrain.pixels import target
from pretrain.pretrained import PRETRAINED, save_pretrained
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
        positions = sincos_pos_embed(width, self.spec.grid)
        self.decoder_pos_embed = nn.Parameter(positions, requires_grad=False)
        depth, heads = recipe.decoder_depth, recipe.decoder_heads
        kinds = [Block] * (depth - 1) + [TailBlock]
        self.decoder_blocks = nn.ModuleList(make_block(width, heads, kind=kind) for kind in kinds)
        self.decoder_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.decoder_pred = nn.Linear(width, self.spec.patch_size**2 * 3)
        self.num_visible = int(self.spec.grid**2 * (1 - recipe.mask_ratio))
        token_width = self.spec.width if recipe.encode_mask_tokens else width
        self.mask_token = nn.Parameter(torch.zeros(1, 1, token_width))
        init_weights(self)

    def view(self) -> View:
        """Return random crop and flip, nothing else (paper, sec. 4.1, data augmentation)."""
        return train_view(self.recipe.image_size, (self.recipe.crop_scale_min, 1.0))

    def noise(self, batch_size: int) -> Float[Tensor, "batch patches"]:
        """Return what decides the masks of a whole batch, from the global generator."""
        return torch.rand(batch_size, self.spec.grid**2, device=self.cls_token.device)

    def forward(
        self,
        images: UInt8[Tensor, "batch 3 side side"],
        noise: Float[Tensor, "batch patches"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return the loss under the masks that the noise decides; without noise it is drawn here.

        Training draws the noise of the whole batch from (seed, step) and gives each rank and
        micro-batch its rows, so that the masks do not depend on how the batch is divided.
        """
        return self.loss(normalize(images), self.noise(len(images)) if noise is None else noise)

    def loss(
        self,
        images: Float[Tensor, "batch 3 side side"],
        noise: Float[Tensor, "batch patches"],
    ) -> Float[Tensor, ""]:
        """Return the mean squared error over the masked patches (sec. 3, reconstruction target)."""
        visible, masked = self.split(noise)
        predicted = self.predict(images, visible, masked)
        wanted = gather_tokens(target(images, self.spec.patch_size, self.recipe.norm_pix), masked)
        return (predicted.float() - wanted).square().mean()

    def split(
        self, noise: Float[Tensor, "batch patches"]
    ) -> tuple[Int[Tensor, "batch visible"], Int[Tensor, "batch masked"]]:
        """Return the patches to keep, those with the lowest noise, and the others."""
        order = patch_order(noise, self.recipe.mask_sampling, self.num_visible)
        return order[:, : self.num_visible], order[:, self.num_visible :]

    def predict(
        self,
        images: Float[Tensor, "batch 3 side side"],
        visible: Int[Tensor, "batch visible"],
        masked: Int[Tensor, "batch masked"],
    ) -> Float[Tensor, "batch masked pixels"]:
        """Return the predicted pixels of the masked patches, channel last inside a patch."""
        if not self.recipe.encode_mask_tokens:
            return self.decode(self.norm(self.encode(images, visible)), visible, masked)
        positions = self.pos_embed[:, 1:].expand(len(images), -1, -1)
        hidden = self.mask_token + gather_tokens(positions, masked)
        tokens = torch.cat([self.embed(images, visible), hidden], dim=1)
        encoded = run_blocks(self.blocks, tokens, self.recompute)
        return self.decode(self.norm(encoded), visible, masked)

    def decode(
        self,
        latent: Float[Tensor, "batch encoded width"],
        visible: Int[Tensor, "batch visible"],
        masked: Int[Tensor, "batch masked"],
    ) -> Float[Tensor, "batch masked pixels"]:
        """Return `predict`'s pixels from the encoded tokens: cls, visible, masked if encoded."""
        batch = len(latent)
        tokens = self.decoder_embed(latent)
        if not self.recipe.encode_mask_tokens:
            hidden = self.mask_token.expand(batch, masked.shape[1], -1)
            tokens = torch.cat([tokens, hidden.to(tokens.dtype)], dim=1)
        cls_place = torch.zeros(batch, 1, dtype=visible.dtype, device=visible.device)
        places = torch.cat([cls_place, visible + 1, masked + 1], dim=1)
        positions = self.decoder_pos_embed.expand(batch, -1, -1)
        tokens = tokens + gather_tokens(positions, places)
        tokens = run_blocks(self.decoder_blocks, tokens, self.recompute, num_last=masked.shape[1])
        return self.decoder_pred(self.decoder_norm(tokens))

    def encoder_state(self) -> dict[str, Tensor]:
        """Return the encoder without the decoder."""
        names = encoder_shapes(self.spec)
        return {name: tensor for name, tensor in self.state_dict().items() if name in names}

    @property
    def training_flops(self) -> int:
        """Return the FLOPs of forward and backward pass for one image, a multiply-add being two."""
        return self.recipe.training_flops

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
        save_pretrained(self, out / PRETRAINED)
        return {"loss": total / seen}
