"""What a result says of its encoder: parameters, arithmetic, identity."""

from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

from mae_bench.kit.encoder import Encoder
from mae_bench.kit.gpus import kind_of
from mae_bench.kit.spec import EncoderSpec
from mae_bench.kit.vit import VisionTransformer


def encoder_facts(encoder: Encoder, used: Encoder | None = None) -> dict[str, Any]:
    """Return arch, origin, sha256, params and flops (multiply-adds of a forward pass) of a file.

    `used` is the encoder as it was brought to a task; its history says what happened on the way.
    """
    model = VisionTransformer(encoder.spec)
    return {
        "arch": encoder.spec.arch,
        "origin": encoder.spec.origin,
        "image_size": encoder.spec.image_size,
        "mean": list(encoder.spec.mean),
        "std": list(encoder.spec.std),
        "norm_eps": encoder.spec.norm_eps,
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "flops": multiply_adds(model, encoder.spec),
        "sha256": encoder.sha256,
        "history": list((used or encoder).history),
    }


def multiply_adds(model: nn.Module, spec: EncoderSpec) -> int:
    """Return fvcore's count for one image of the spec's size, attention products included."""
    image = torch.zeros(1, 3, spec.image_size, spec.image_size)
    analysis = FlopCountAnalysis(model.eval(), image)
    analysis.set_op_handle("aten::scaled_dot_product_attention", _attention)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return int(analysis.total())


def peak_flops(device: torch.device) -> float | None:
    """Return the GPU's dense bf16 peak in FLOP/s by its data sheet, None if not known."""
    if device.type != "cuda":
        return None
    kind = kind_of(torch.cuda.get_device_name(device))
    return None if kind is None else kind.peak_flops


def _attention(inputs: list[Any], outputs: list[Any]) -> int:
    """Return the multiply-adds of q k^T and of the weights times v."""
    batch, heads, queries, dim = inputs[0].type().sizes()
    keys = inputs[1].type().sizes()[2]
    return 2 * int(batch * heads * queries * keys * dim)
