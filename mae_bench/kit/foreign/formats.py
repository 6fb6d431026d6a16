"""The formats of foreign encoders: how each is told from the others, and what it leaves unsaid."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mae_bench.core.recipe import unknown
from mae_bench.kit.foreign.naming import NAMINGS, Naming
from mae_bench.kit.pos_embed import sincos_pos_embed
from mae_bench.kit.spec import IMAGENET_MEAN, IMAGENET_STD

HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Found:
    """Where an encoder lies in a file."""

    naming: Naming
    prefix: str
    """Before every name of the encoder."""
    tensors: Mapping[str, Tensor]
    """All of the file, by their full names."""
    copies: Mapping[str, str] = field(default_factory=dict)
    """Prefix of another encoder in the file -> why it was not taken."""
    header: bool = False
    """Whether the file is a whole autoencoder of this project."""

    def has(self, pattern: str) -> bool:
        """Return whether the pattern is found in any name."""
        return any(re.search(pattern, name) for name in self.tensors)

    def sincos(self) -> bool:
        """Return whether the positions are MAE's fixed sines and cosines, which are not trained."""
        given = self.tensors.get(self.prefix + "pos_embed")
        if given is None or given.ndim != 3 or given.shape[2] % 4:
            return False
        grid = round((given.shape[1] - 1) ** 0.5)
        if grid < 2 or grid**2 + 1 != given.shape[1]:
            return False
        return torch.allclose(given.float(), sincos_pos_embed(given.shape[2], grid), atol=1e-3)


@dataclass(frozen=True)
class Format:
    """One library's or paper's checkpoints."""

    name: str
    title: str
    naming: str
    told_by: Callable[[Found], bool]
    origin: str = "foreign"
    """The recipe that made all encoders of that format, if their head was not trained on labels."""
    norm_eps: float = 1e-6
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    heads: Mapping[int, int] = field(default_factory=dict)
    """Width -> heads where the format differs from everybody else."""
    may_lack: tuple[str, ...] = ()
    """Of `norm.weight` and `cls_token`, what its encoders may lack though others are broken then.

    A norm may be missing everywhere if there is one after pooling."""


FORMATS = (
    Format(
        "mae-bench",
        "mae-bench's own autoencoder",
        "timm",
        lambda found: found.header,
        origin="mae",
    ),
    Format(
        "moco_v3",
        "MoCo v3",
        "timm",
        lambda found: bool(re.search(r"(base|momentum)_encoder", found.prefix)),
        origin="moco_v3",
        heads={384: 12},  # Chen et al. 2021, sec. 5: twelve heads in ViT-S
    ),
    Format(
        "detectron2",
        "detectron2's ViT",
        "timm",
        lambda found: found.prefix.endswith("net.") or found.has(r"\.rel_pos_[hw]$"),
        may_lack=("norm.weight", "cls_token"),
    ),
    Format(
        "lightly",
        "lightly around timm's ViT",
        "timm",
        lambda found: bool(re.search(r"(teacher|student)_backbone|backbone\.vit\.", found.prefix)),
    ),
    Format(
        "dinov2",
        "DINOv2",
        "timm",
        lambda found: (
            found.has(r"register_tokens$|(dino|ibot)_head\.|blocks\.\d+\.\d+\.norm1")
            or (found.has(r"ls1\.gamma$") and found.has(r"mask_token$"))
        ),
        origin="dinov2",
    ),
    Format(
        "dino",
        "DINO",
        "timm",
        lambda found: (
            bool(re.search(r"(teacher|student)\.", found.prefix))
            or found.has(r"head\.(last_layer|mlp)")
        ),
        origin="dino",
    ),
    Format(
        "beit",
        "BEiT",
        "timm",
        lambda found: found.has(r"attn\.q_bias$|relative_position_bias_table$"),
        origin="beit",
        mean=HALF,
        std=HALF,
    ),
    Format(
        "mae",
        "MAE",
        "timm",
        lambda found: found.has(r"decoder_(embed|blocks|pred)\.") or found.sincos(),
        origin="mae",
    ),
    Format(
        "timm",
        "timm's names (also DeiT's, and those of encoders fine-tuned with MAE's code)",
        "timm",
        lambda found: True,
    ),
    Format(
        "hf_beit",
        "transformers BEiT",
        "transformers",
        lambda found: found.has(r"lambda_1$|relative_position_bias_table$|beit\."),
        origin="beit",
        norm_eps=1e-12,
        mean=HALF,
        std=HALF,
        may_lack=("norm.weight",),
    ),
    Format(
        "hf_dinov2",
        "transformers DINOv2",
        "transformers",
        lambda found: found.has(r"layer_scale1\.lambda1$"),
        origin="dinov2",
    ),
    Format(
        "hf_vit_mae",
        "transformers ViTMAE",
        "transformers",
        lambda found: found.has(r"decoder_embed\."),
        origin="mae",
        norm_eps=1e-12,
    ),
    Format("hf_vit", "transformers ViT", "transformers", lambda found: True, norm_eps=1e-12),
    Format(
        "mmseg",
        "mmsegmentation",
        "openmmlab",
        lambda found: found.has(r"(^|\.)(decode_head|auxiliary_head)\.|attn\.attn\.in_proj_weight"),
        may_lack=("norm.weight",),
    ),
    Format(
        "mmpretrain",
        "mmpretrain or mmselfsup",
        "openmmlab",
        lambda found: True,
        may_lack=("norm.weight",),
    ),
    Format(
        "lightly_torchvision",
        "lightly around torchvision's ViT",
        "torchvision",
        lambda found: found.prefix.endswith(("backbone.", "backbone.vit.")),
    ),
    Format("torchvision", "torchvision", "torchvision", lambda found: True),
)
"""In each naming the first that is told by its tensors is taken."""
BY_NAME = {known.name: known for known in FORMATS}

COPIES = (
    ("student", "the student's copy; the teacher was taken"),
    ("momentum", "the momentum encoder's copy; the trained one was taken"),
    ("ema", "a moving average of the weights; the weights themselves were taken"),
)
"""(part of a prefix, why it gives way to an encoder without that part)."""


def find_encoder(what: str, tensors: Mapping[str, Tensor], header: bool = False) -> Found:
    """Return where the encoder lies; ValueError if there is none, or several that are no copies."""
    places = [
        (naming, name.removesuffix(naming.anchor))
        for naming in NAMINGS
        for name in tensors
        if name == naming.anchor or name.endswith("." + naming.anchor)
    ]
    if not places:
        raise ValueError(
            f"{what} is no plain ViT: expected a patch embedding such as "
            f"{', '.join(naming.anchor for naming in NAMINGS)}, found {_some(tensors)}; pass the "
            "checkpoint of a plain ViT"
        )
    copies = {}
    for part, reason in COPIES:
        kept = [place for place in places if not re.search(rf"(^|[._]){part}", place[1])]
        if kept and len(kept) < len(places):
            copies |= {place[1]: reason for place in places if place not in kept}
            places = kept
    target = [place for place in places if "target_encoder" in place[1]]
    if target and len(places) > len(target):  # I-JEPA
        rest = [prefix for _, prefix in places if "target_encoder" not in prefix]
        copies |= dict.fromkeys(rest, "the context encoder; the target encoder was taken")
        places = target
    if len(places) > 1:
        prefixes = ", ".join(repr(prefix) for _, prefix in places)
        raise ValueError(
            f"{what} holds {len(places)} encoders, at {prefixes}; name those to leave out with drop"
        )
    return Found(*places[0], tensors, copies, header)


def detect(what: str, found: Found, name: str | None) -> Format:
    """Return the format by its tensors, or the named one; ValueError if its names do not fit."""
    if name is None:
        fitting = (known for known in FORMATS if known.naming == found.naming.name)
        return next(known for known in fitting if known.told_by(found))
    if name not in BY_NAME:
        raise ValueError(unknown("format", name, tuple(BY_NAME)))
    if BY_NAME[name].naming != found.naming.name:
        fitting_names = [known.name for known in FORMATS if known.naming == found.naming.name]
        raise ValueError(
            f"{what} is not of the format {name}: it names its tensors as in "
            f"{', '.join(fitting_names)}; give one of these or none"
        )
    return BY_NAME[name]


def _some(tensors: Mapping[str, Tensor]) -> str:
    """Return the first names."""
    return ", ".join(list(tensors)[:4])
