"""Checkpoints that hold no plain ViT, known by their tensors, and a clear sentence for each."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_SMALL = (torch.int8, torch.uint8, torch.qint8, torch.quint8)
_QUANTISED = (
    "quantised weights, which do not hold the values that were trained; pass the checkpoint before "
    "quantisation, in float32, bfloat16 or float16"
)
SIGNS = (
    (
        r"(lora_[AB]|lora_embedding_[AB]|lora_magnitude|ia3_l|prompt_embeddings|adapter_\w+)\b",
        "a LoRA or PEFT adapter, differences to a model that is not in the file; merge them "
        "(peft: merge_and_unload) and save the whole model",
    ),
    (
        r"\.(SCB|absmax|nested_absmax|quant_map|quant_state|qweight|qzeros|g_idx|_packed_params|"
        r"weight_scale|weight_zero_point)(\.|$)",
        _QUANTISED,
    ),
    (
        r"(^|\.)(ln_pre|pre_layrnorm|pre_layernorm|norm_pre|pre_norm)\.",
        "a norm before the first block, as in CLIP, which this ViT does not have; pass an encoder "
        "without it",
    ),
    (
        r"(^|\.)layers\.\d+\.blocks\.\d+\.",
        "stages of windowed attention, as in Swin, but only a plain ViT of one stage can be used; "
        "pass another encoder",
    ),
    (
        r"(^|\.)(dist_token|distillation_token)$",
        "a distillation token, which attends beside the patches and has no place in this ViT; pass "
        "the DeiT without distillation",
    ),
    (
        r"mlp\.(w12|w3|w1|w2|weights_in|weights_out|fc1_g|fc1_x|gate_proj)\.",
        "gated MLPs (SwiGLU, as in DINOv2's giant), but this ViT has two layers with GELU; pass a "
        "smaller model of the family",
    ),
    (
        r"(^|\.)(q_norm|k_norm)\.",
        "norms on queries and keys, which this ViT does not have; pass an encoder without them",
    ),
    (
        r"(^|\.)(rope|rope_embed|rotary\w*|freqs_cis)(\.|$)",
        "rotary positions, which this ViT does not have; pass an encoder with learned ones",
    ),
    (
        r"(^|\.)(word_embeddings|token_embedding|embed_tokens|wte)\.weight$",
        "word embeddings of a text model; pass an image encoder",
    ),
    (
        r"(^|\.)(layer[1-4]\.\d+\.conv\d|stages\.\d+\.(blocks\.|layers\.)?\d+\.(conv\w*|dwconv))\.",
        "the stages of a convolutional network; only a plain ViT can be used",
    ),
)
"""(pattern somewhere in a name, what it shows and the next step)."""


def refuse_strangers(what: str, tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError, naming a tensor and the next step, if the tensors hold no plain ViT."""
    for pattern, sentence in SIGNS:
        found = next((name for name in tensors if re.search(pattern, name)), None)
        if found is not None:
            raise ValueError(f"{what} is no plain ViT: {found} shows {sentence}")
    for name, tensor in tensors.items():
        if tensor.ndim > 1 and (tensor.dtype in _SMALL or str(tensor.dtype)[6:12] == "float8"):
            raise ValueError(
                f"{what} is no plain ViT: {name} is {str(tensor.dtype)[6:]} and shows {_QUANTISED}"
            )
