"""The detector of MAE's Table 4 (Li et al. 2021) on detectron2's parts; no public code exists.

A ViT with taps after every quarter, brought to four scales, and FPN with batch norm on them.
"""

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from detectron2.config import LazyCall
from detectron2.modeling import FPN, Backbone, ViT
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from torch import Tensor, nn

from mae_bench.kit.encoder import Encoder
from transfer.detectron2_adapter.attention import TableAttention, tapped
from transfer.detectron2_adapter.model import (
    quarter_ends,
    require_side,
    set_heads,
    set_levels,
    set_mask_head,
    vitdet_config,
)

if TYPE_CHECKING:
    from transfer.coco_maskrcnn_fpn import CocoMaskRcnnFpn

SCALES = (4.0, 2.0, 1.0, 0.5)
"""Of the four levels relative to the patch grid."""
FEATURES = ["fourfold", "twofold", "same", "halved"]
GROUPS = 32
"""Of the group norm, Wu & He 2018's default: the number is unpublished."""


def model_config(recipe: "CocoMaskRcnnFpn", encoder: Encoder, num_classes: int) -> Any:
    """Return the lazy config of Mask R-CNN with FPN on the encoder's quarters.

    Raises ValueError for an encoder of fewer than four blocks, and for images whose coarsest map
    would not be half the patch grid.
    """
    spec = encoder.spec
    if len(quarter_ends(spec.depth)) < len(SCALES):
        raise ValueError(
            f"{type(recipe).name} taps four blocks, the encoder has {spec.depth}; use a deeper one"
        )
    require_side(recipe, int(spec.patch_size / SCALES[-1]))
    model = vitdet_config(recipe, encoder)
    net = model.backbone.net
    net._target_, net.use_rel_pos = QuarterViT, False
    model.backbone = LazyCall(FPN)(
        bottom_up=LazyCall(FourScales)(net=net),
        in_features=FEATURES,
        out_channels=recipe.pyramid_width,
        norm="BN",
        top_block=LazyCall(LastLevelMaxPool)(),
        square_pad=recipe.image_size,
    )
    model.roi_heads.box_head.conv_norm = model.roi_heads.mask_head.conv_norm = HeadNorm
    set_levels(model, [int(spec.patch_size / scale) for scale in SCALES])
    set_heads(model, recipe, num_classes)
    set_mask_head(model, recipe.pyramid_width, recipe.mask_convs)
    return model


class HeadNorm(nn.Sequential):
    """The batch norm of a head's convolution, which may get no rows on some ranks or on all.

    A crop may leave a rank no object, so its mask head gets no rows. detectron2's convolution
    refuses a SyncBatchNorm that it finds directly under it, for ranks with no rows; torch's own
    takes them only in fp32, since such a rank answers in the precision of its input and the others
    in fp32. With no rows on any rank it would move its statistics to 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(nn.BatchNorm2d(channels))

    def forward(self, rows: Tensor) -> Tensor:
        """Return the normalised rows in their own precision; the norm itself runs in fp32."""
        norm, exact = self[0], rows.float()
        with torch.autocast(rows.device.type, enabled=False):
            if norm.training and _rows_of_all(rows) == 0:  # weights get the gradient 0
                kept = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
                return F.batch_norm(exact, *kept, eps=norm.eps).to(rows.dtype)
            out: Tensor = norm(exact)
        return out.to(rows.dtype)


def _rows_of_all(rows: Tensor) -> int:
    """Return the number of rows over all ranks; every rank must call it."""
    number = torch.tensor(len(rows), device=rows.device)
    if dist.is_initialized():
        dist.all_reduce(number)
    return int(number)


class QuarterViT(ViT):  # type: ignore[misc] # detectron2 has no types
    """detectron2's ViT tapped after every quarter, with a table of relative positions a block.

    A table is a window's where attention is local, and the whole grid's elsewhere.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.recompute = False
        self.width, self.patch_size = settings["embed_dim"], settings["patch_size"]
        grid = settings["img_size"] // self.patch_size
        for block in self.blocks:
            block.attn = TableAttention(block.attn, block.window_size or grid)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the four taps, (batch, channels, height, width) each."""
        return tapped(self, images, quarter_ends(len(self.blocks)))


class FourScales(Backbone):  # type: ignore[misc] # detectron2 has no types
    """The four taps at 4, 2, 1 and 1/2 times the patch grid, all as wide as the encoder.

    Twice by a transposed convolution of stride 2, four times by two of them with group norm and
    GELU between, half by max-pooling.
    """

    def __init__(self, net: QuarterViT) -> None:
        super().__init__()
        self.net = net
        width = net.width
        self.fourfold = nn.Sequential(
            nn.ConvTranspose2d(width, width, kernel_size=2, stride=2),
            nn.GroupNorm(math.gcd(GROUPS, width), width),
            nn.GELU(),
            nn.ConvTranspose2d(width, width, kernel_size=2, stride=2),
        )
        self.twofold = nn.ConvTranspose2d(width, width, kernel_size=2, stride=2)
        self.same = nn.Identity()
        self.halved = nn.MaxPool2d(kernel_size=2, stride=2)
        strides = [int(net.patch_size / scale) for scale in SCALES]
        self._out_features = FEATURES
        self._out_feature_channels = dict.fromkeys(FEATURES, width)
        self._out_feature_strides = dict(zip(FEATURES, strides, strict=True))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the maps from fine to coarse, by name."""
        taps = self.net(images)
        return {name: getattr(self, name)(tap) for name, tap in zip(FEATURES, taps, strict=True)}
