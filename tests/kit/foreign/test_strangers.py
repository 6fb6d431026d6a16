"""What is no plain ViT, by real models of other kinds where a library here has them."""

import pytest
import timm
import torch
import torchvision
import transformers
from foreign_case import GIVEN, SIDE, WIDTH, saved, timm_vit, transformers_state

from mae_bench.kit.foreign.importing import import_encoder
from mae_bench.kit.foreign.strangers import SIGNS

HF = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 4}
HF_IMAGE = HF | {"image_size": SIDE, "patch_size": 8}


def resnet():
    return torchvision.models.resnet18(num_classes=2).state_dict()


def convnext():
    return timm.create_model("convnext_atto", num_classes=0).state_dict()


def bert():
    config = transformers.BertConfig(**HF, intermediate_size=64, vocab_size=20)
    return transformers_state(transformers.BertModel(config))


def clip():
    config = transformers.CLIPVisionConfig(**HF_IMAGE, intermediate_size=128)
    return transformers_state(transformers.CLIPVisionModel(config))


def timm_clip():
    return timm_vit(pre_norm=True).state_dict()


def openai_clip():
    return {"visual.class_embedding": torch.ones(8), "visual.ln_pre.weight": torch.ones(8)}


def swin():
    return timm.models.swin_transformer.SwinTransformer(
        img_size=32, patch_size=4, embed_dim=8, depths=(1, 1), num_heads=(2, 2), window_size=4
    ).state_dict()


def swin_of_transformers():
    config = transformers.SwinConfig(
        image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4
    )
    return transformers_state(transformers.SwinModel(config))


def distilled():
    model = timm.models.deit.VisionTransformerDistilled(
        img_size=SIDE, patch_size=8, embed_dim=WIDTH, depth=1, num_heads=4
    )
    return model.state_dict()


def distilled_of_transformers():
    config = transformers.DeiTConfig(**HF_IMAGE, intermediate_size=128)
    return transformers_state(transformers.DeiTModel(config))


def giant():
    config = transformers.Dinov2Config(**HF_IMAGE, use_swiglu_ffn=True)
    return transformers_state(transformers.Dinov2Model(config))


def giant_of_facebook():
    return timm_vit().state_dict() | {"blocks.0.mlp.w12.weight": torch.ones(8, 8)}


def normed_queries():
    return timm_vit(qk_norm=True).state_dict()


def adapter():
    name = "base_model.model.vit.encoder.layer.0.attention.attention.query.lora_A.weight"
    return {name: torch.ones(4, WIDTH)}


def whole_with_adapter():
    return timm_vit().state_dict() | {"blocks.0.attn.qkv.lora_B.weight": torch.ones(96, 4)}


def eight_bits():
    state = timm_vit().state_dict()
    state["blocks.0.mlp.fc1.weight"] = torch.ones(128, WIDTH, dtype=torch.int8)
    return state


def bitsandbytes():
    return eight_bits() | {"blocks.0.mlp.fc1.SCB": torch.ones(128)}


def gptq():
    return timm_vit().state_dict() | {
        "blocks.0.mlp.fc1.qweight": torch.ones(4, 128, dtype=torch.int32),
        "blocks.0.mlp.fc1.g_idx": torch.zeros(WIDTH, dtype=torch.int32),
    }


def eight_bit_floats():
    state = timm_vit().state_dict()
    name = "blocks.0.mlp.fc1.weight"
    return state | {name: state[name].to(torch.float8_e4m3fn)}


def rotary():
    return timm_vit().state_dict() | {"rope_embed.periods": torch.ones(4)}


CASES = {
    resnet: r"layer1\.0\.conv1\.weight shows the stages of a convolutional network",
    convnext: "shows the stages of a convolutional network",
    bert: r"word_embeddings\.weight shows word embeddings of a text model",
    clip: "shows a norm before the first block, as in CLIP",
    timm_clip: r"norm_pre\.weight shows a norm before the first block",
    openai_clip: r"visual\.ln_pre\.weight shows a norm before the first block",
    swin: "shows stages of windowed attention, as in Swin",
    swin_of_transformers: "shows stages of windowed attention, as in Swin",
    distilled: "dist_token shows a distillation token",
    distilled_of_transformers: "distillation_token shows a distillation token",
    giant: "shows gated MLPs",
    giant_of_facebook: r"mlp\.w12\.weight shows gated MLPs",
    normed_queries: "shows norms on queries and keys",
    adapter: r"lora_A\.weight shows a LoRA or PEFT adapter",
    whole_with_adapter: r"lora_B\.weight shows a LoRA or PEFT adapter",
    eight_bits: r"blocks\.0\.mlp\.fc1\.weight is int8 and shows quantised weights",
    bitsandbytes: r"fc1\.SCB shows quantised weights",
    gptq: r"fc1\.qweight shows quantised weights",
    eight_bit_floats: "is float8_e4m3fn and shows quantised weights",
    rotary: r"rope_embed\.periods shows rotary positions",
}


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_what_is_no_plain_vit_is_named_and_nothing_is_written(make, tmp_path):
    path = saved(tmp_path / "model.pth", make()).path
    with pytest.raises(ValueError, match=rf"model\.pth is no plain ViT: .*{CASES[make]}"):
        import_encoder(path, GIVEN)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pth"]


def test_every_sign_has_a_model_that_shows_it():
    shown = [wanted.split("shows ")[1] for wanted in CASES.values()]
    assert all(any(sentence.startswith(start) for start in shown) for _, sentence in SIGNS)
