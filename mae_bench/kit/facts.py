"""What a result says of its encoder: parameters, arithmetic, identity."""

from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

from mae_bench.kit.encoder import Encoder
from mae_bench.kit.spec import EncoderSpec
from mae_bench.kit.vit import VisionTransformer


def encoder_facts(encoder: Encoder) -> dict[str, Any]:
    """Return arch, origin, sha256, params and flops (multiply-adds of one forward pass)."""
    model = VisionTransformer(encoder.spec)
    return {
        "arch": encoder.spec.arch,
        "origin": encoder.spec.origin,
        "image_size": encoder.spec.image_size,
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "flops": multiply_adds(model, encoder.spec),
        "sha256": encoder.sha256,
    }


def multiply_adds(model: nn.Module, spec: EncoderSpec) -> int:
    """Return fvcore's count for one image of the spec's size, attention products included."""
    image = torch.zeros(1, 3, spec.image_size, spec.image_size)
    analysis = FlopCountAnalysis(model.eval(), image)
    analysis.set_op_handle("aten::scaled_dot_product_attention", _attention)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return int(analysis.total())


def _attention(inputs: list[Any], outputs: list[Any]) -> int:
    """Return the multiply-adds of q k^T and of the weights times v."""
    batch, heads, queries, dim = inputs[0].type().sizes()
    keys = inputs[1].type().sizes()[2]
    return 2 * int(batch * heads * queries * keys * dim)
