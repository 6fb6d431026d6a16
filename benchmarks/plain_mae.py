"""The other side of the comparison: a masked autoencoder as one writes it down from the paper.

Every patch is embedded by a convolution and the visible ones are picked afterwards, attention is
two matrix products and a softmax, the decoder puts its tokens back into image order and predicts
every patch, and the loss is averaged under the mask. Nothing is slowed on purpose.
"""

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention, written out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, count, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, count, width))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class PlainMAE(nn.Module):
    """Masked autoencoder of the given encoder size with the paper's decoder."""

    def __init__(self, width: int, depth: int, heads: int, patch_size: int, side: int) -> None:
        super().__init__()
        self.patch_size, self.grid = patch_size, side // patch_size
        patches = self.grid**2
        self.embed = nn.Conv2d(3, width, patch_size, patch_size)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, patches + 1, width) * 0.02, False)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder_embed = nn.Linear(width, 512)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, 512))
        self.decoder_positions = nn.Parameter(torch.randn(1, patches + 1, 512) * 0.02, False)
        self.decoder_blocks = nn.Sequential(*(Block(512, 16) for _ in range(8)))
        self.decoder_norm = nn.LayerNorm(512, eps=1e-6)
        self.predict = nn.Linear(512, patch_size**2 * 3)

    def forward(self, images: Tensor) -> Tensor:
        """Return the loss of normalised float images under a random mask of three quarters."""
        batch, patches, p = len(images), self.grid**2, self.patch_size
        tokens = self.embed(images).flatten(2).transpose(1, 2) + self.positions[:, 1:]
        order = torch.rand(batch, patches, device=images.device).argsort(dim=1)
        back = order.argsort(dim=1)
        kept = patches // 4
        index = order[:, :kept, None].expand(-1, -1, tokens.shape[2])
        cls = (self.cls + self.positions[:, :1]).expand(batch, -1, -1)
        encoded = self.norm(self.blocks(torch.cat([cls, tokens.gather(1, index)], dim=1)))
        encoded = self.decoder_embed(encoded)
        hidden = self.mask_token.expand(batch, patches - kept, -1)
        shuffled = torch.cat([encoded[:, 1:], hidden.to(encoded.dtype)], dim=1)
        ordered = shuffled.gather(1, back[:, :, None].expand(-1, -1, 512))
        tokens = torch.cat([encoded[:, :1], ordered], dim=1) + self.decoder_positions
        predicted = self.predict(self.decoder_norm(self.decoder_blocks(tokens)))[:, 1:]
        split = images.reshape(batch, 3, self.grid, p, self.grid, p)
        target = split.permute(0, 2, 4, 3, 5, 1).reshape(batch, patches, -1)
        mean, variance = target.mean(dim=-1, keepdim=True), target.var(dim=-1, keepdim=True)
        target = (target - mean) / (variance + 1e-6) ** 0.5
        mask = torch.ones(batch, patches, device=images.device)
        mask[:, :kept] = 0
        mask = mask.gather(1, back)
        return (((predicted - target) ** 2).mean(dim=-1) * mask).sum() / mask.sum()
