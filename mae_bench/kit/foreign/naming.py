"""How other libraries name the tensors of a plain ViT, and which tensors are not part of one.

Names are first mapped to intermediate ones: the canonical names of `encoder_shapes`, and besides
`blocks.N.attn.{q,k,v}.*` where the three are apart and `shared_relative_table` where all blocks
share one.
"""

import re
from dataclasses import dataclass

SHARED_TABLE = "shared_relative_table"
TABLE = "relative_position_bias_table"
INDEX = re.compile(r"(^|\.)relative_position_index$")
DECOMPOSED = re.compile(r"(^|\.)rel_pos_[hw]$")
HEAD = re.compile(
    r"(?:^|\.)(?:(fc_norm|ln2|pooler\.layernorm)|head|classifier|heads\.head|head\.layers\.head|head\.fc)"
    r"\.(weight|bias)$"
)
"""A linear classification head, or (first group) the norm of the pooled patches before it."""


@dataclass(frozen=True)
class Naming:
    """A family of names."""

    name: str
    anchor: str
    """The patch embedding's kernel, by which an encoder is found in a file."""
    renames: tuple[tuple[str, str], ...]
    r"""(pattern of a whole name, intermediate name with \1, \2 for its groups)."""

    def intermediate(self, name: str) -> str | None:
        """Return the intermediate name, None if the naming does not know it."""
        for pattern, target in self.renames:
            found = re.fullmatch(pattern, name)
            if found:
                return found.expand(target)
        return None


_TIMM_BLOCK = r"blocks\.(?:\d+\.)?(\d+)\."  # DINOv2 may put blocks into numbered chunks
_HF_BLOCK = r"(?:encoder\.layer|encoder\.layers|layers)\.(\d+)\."
_MM_BLOCK = r"layers\.(\d+)\."
_TV_BLOCK = r"encoder\.layers\.encoder_layer_(\d+)\."

NAMINGS = (
    Naming(
        "timm",
        "patch_embed.proj.weight",
        (
            (r"(cls_token|pos_embed)", r"\1"),
            (r"reg_token|register_tokens", "reg_token"),
            (r"patch_embed\.proj\.(weight|bias)", r"patch_embed.proj.\1"),
            (r"norm\.(weight|bias)", r"norm.\1"),
            (
                _TIMM_BLOCK + r"((?:norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)"
                r"\.(?:weight|bias))",
                r"blocks.\1.\2",
            ),
            (_TIMM_BLOCK + r"(?:ls([12])\.gamma|gamma_([12]))", r"blocks.\1.ls\2\3.gamma"),
            (_TIMM_BLOCK + r"attn\.([qkv])_bias", r"blocks.\1.attn.\2.bias"),
            (_TIMM_BLOCK + rf"attn\.{TABLE}", rf"blocks.\1.attn.{TABLE}"),
            (rf"rel_pos_bias\.{TABLE}", SHARED_TABLE),
        ),
    ),
    Naming(
        "transformers",
        "embeddings.patch_embeddings.projection.weight",
        (
            (r"embeddings\.cls_token", "cls_token"),
            (r"embeddings\.position_embeddings", "pos_embed"),
            (r"embeddings\.register_tokens", "reg_token"),
            (r"embeddings\.patch_embeddings\.projection\.(weight|bias)", r"patch_embed.proj.\1"),
            (r"layernorm\.(weight|bias)", r"norm.\1"),
            (_HF_BLOCK + r"(?:layernorm_before|norm1)\.(weight|bias)", r"blocks.\1.norm1.\2"),
            (_HF_BLOCK + r"(?:layernorm_after|norm2)\.(weight|bias)", r"blocks.\1.norm2.\2"),
            (
                _HF_BLOCK + r"attention\.(?:attention\.(q)uery|attention\.(k)ey|"
                r"attention\.(v)alue|([qkv])_proj)\.(weight|bias)",
                r"blocks.\1.attn.\2\3\4\5.\6",
            ),
            (
                _HF_BLOCK + r"attention\.(?:output\.dense|o_proj)\.(weight|bias)",
                r"blocks.\1.attn.proj.\2",
            ),
            (
                _HF_BLOCK + r"(?:intermediate\.dense|mlp\.fc1)\.(weight|bias)",
                r"blocks.\1.mlp.fc1.\2",
            ),
            (_HF_BLOCK + r"(?:output\.dense|mlp\.fc2)\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
            (
                _HF_BLOCK + r"(?:layer_scale([12])\.lambda1|lambda_([12]))",
                r"blocks.\1.ls\2\3.gamma",
            ),
            (
                _HF_BLOCK + rf"(?:attention\.attention\.)?relative_position_bias\.{TABLE}",
                rf"blocks.\1.attn.{TABLE}",
            ),
            (
                rf"(?:encoder\.relative_position_bias|shared_position_bias)\.{TABLE}",
                SHARED_TABLE,
            ),
        ),
    ),
    Naming(
        "openmmlab",
        "patch_embed.projection.weight",
        (
            (r"(cls_token|pos_embed)", r"\1"),
            (r"patch_embed\.projection\.(weight|bias)", r"patch_embed.proj.\1"),
            (r"(?:ln1|norm1)\.(weight|bias)", r"norm.\1"),
            (_MM_BLOCK + r"(?:ln|norm)([12])\.(weight|bias)", r"blocks.\1.norm\2.\3"),
            (_MM_BLOCK + r"attn\.(qkv|proj)\.(weight|bias)", r"blocks.\1.attn.\2.\3"),
            (_MM_BLOCK + r"attn\.([qkv])_bias", r"blocks.\1.attn.\2.bias"),
            (_MM_BLOCK + r"attn\.attn\.in_proj_(weight|bias)", r"blocks.\1.attn.qkv.\2"),
            (_MM_BLOCK + r"attn\.attn\.out_proj\.(weight|bias)", r"blocks.\1.attn.proj.\2"),
            (_MM_BLOCK + r"ffn\.layers\.0\.0\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
            (_MM_BLOCK + r"ffn\.layers\.1\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
            (
                _MM_BLOCK + r"(?:gamma_([12])|attn\.gamma(1)\.weight|ffn\.gamma(2)\.weight)",
                r"blocks.\1.ls\2\3\4.gamma",
            ),
            (_MM_BLOCK + rf"attn\.{TABLE}", rf"blocks.\1.attn.{TABLE}"),
            (rf"rel_pos_bias\.{TABLE}", SHARED_TABLE),
        ),
    ),
    Naming(
        "torchvision",
        "conv_proj.weight",
        (
            (r"class_token", "cls_token"),
            (r"encoder\.pos_embedding", "pos_embed"),
            (r"conv_proj\.(weight|bias)", r"patch_embed.proj.\1"),
            (r"encoder\.ln\.(weight|bias)", r"norm.\1"),
            (_TV_BLOCK + r"ln_([12])\.(weight|bias)", r"blocks.\1.norm\2.\3"),
            (_TV_BLOCK + r"self_attention\.in_proj_(weight|bias)", r"blocks.\1.attn.qkv.\2"),
            (_TV_BLOCK + r"self_attention\.out_proj\.(weight|bias)", r"blocks.\1.attn.proj.\2"),
            (_TV_BLOCK + r"mlp\.(?:0|linear_1)\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
            (_TV_BLOCK + r"mlp\.(?:3|linear_2)\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
        ),
    ),
)

NO_ENCODER = (
    (r"(embeddings\.)?mask_token$", "stands for masked patches in pretraining"),
    (r"(decoder\w*|prediction_head|lm_head|neck)\.", "a decoder or neck behind the encoder"),
    (r"decoder_pos_embed$", "a decoder or neck behind the encoder"),
    (r"(head|heads|classifier|head_dist|fc)\.", "a head behind the encoder"),
    (r"(teacher_|student_|dino_|ibot_|projection_|prediction_)head\w*\.", "a head of pretraining"),
    (r"(projector|predictor|projection_head_momentum)\w*\.", "a head of pretraining"),
    (r"(queue|queue_ptr|center)$", "pretraining's memory of other images"),
    (r"(criterion|loss)\w*\.", "a part of the loss"),
    (r"pooler\.", "a pooling layer behind the encoder"),
    (r"(fc_norm|ln2)\.", "a norm after pooling, which no token passes"),
    (r"(decode_head|auxiliary_head)\.", "a segmenter's head"),
    (r"(proposal_generator|roi_heads|rpn_head|roi_head)\.", "a detector's head"),
    (r"(simfp_|fpn_|top_block)\w*\.", "a detector's pyramid"),
    (r"(pixel_mean|pixel_std|data_preprocessor\.\w+|image_mean|image_std)$", "pixel statistics"),
)
"""(pattern of a name's beginning, what it is) of tensors that change no token's features."""


def reason_to_drop(name: str, inside: bool) -> str | None:
    """Return what a tensor is that lies behind the encoder, None if it may be part of it.

    A name `inside` an encoder's prefix, given without it, must begin as in NO_ENCODER; the name of
    a tensor outside may have any parts before.
    """
    before = "" if inside else r"(?:.*\.)?"
    for pattern, reason in NO_ENCODER:
        if re.match(before + pattern, name):
            return reason
    return None
