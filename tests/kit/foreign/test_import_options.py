import dataclasses

import pytest
import torch
from foreign_case import GIVEN, SIDE, WIDTH, saved, timm_beit, timm_vit
from foreign_cases import BUILDERS

from mae_bench.kit.encoder import write_encoder
from mae_bench.kit.foreign.importing import ImportOptions, import_encoder
from pretrain.mae import MAE
from pretrain.mae_model import MAEObjective
from pretrain.pretrained import save_pretrained

HALF = (0.5, 0.5, 0.5)


def test_what_the_user_says_goes_first(plain):
    options = ImportOptions(heads=2, origin="dino", mean=HALF, std=HALF, format="dino")
    imported = import_encoder(plain(), options)
    spec = imported.encoder.spec
    assert (spec.heads, spec.origin, spec.mean, imported.format) == (2, "dino", HALF, "dino")


def test_moco_v3_has_twelve_heads_at_width_384(tmp_path):
    state = timm_vit(embed_dim=384, num_heads=12, depth=1).state_dict()
    path = saved(tmp_path / "m.pth", {f"module.base_encoder.{n}": t for n, t in state.items()}).path
    assert import_encoder(path).encoder.spec.heads == 12
    path = saved(tmp_path / "t.pth", state).path
    assert import_encoder(path).encoder.spec.heads == 6


def test_unknown_heads_are_asked_for(plain):
    with pytest.raises(ValueError, match="width 32, and its tensors do not tell the number of att"):
        import_encoder(plain())


def test_heads_that_contradict_the_tensors_are_refused(tmp_path):
    path = saved(tmp_path / "b.pth", timm_beit().state_dict()).path
    with pytest.raises(ValueError, match=r"heads are .* \[4\] by its relative positions and 2 as"):
        import_encoder(path, ImportOptions(heads=2))


def test_a_named_size_keeps_its_name(tmp_path):
    state = timm_vit(depth=4, num_heads=2).state_dict()
    spec = import_encoder(saved(tmp_path / "m.pth", state).path).encoder.spec
    assert (spec.arch, spec.heads) == ("vit_smoke_patch8", 2)


def test_an_unknown_format_and_one_that_does_not_fit_are_named(plain):
    with pytest.raises(ValueError, match="unknown format 'hf_vti'; did you mean 'hf_vit'"):
        import_encoder(plain(), ImportOptions(format="hf_vti"))
    with pytest.raises(ValueError, match="is not of the format hf_vit: it names its tensors as in"):
        import_encoder(plain(), ImportOptions(format="hf_vit"))


def test_positions_that_are_not_square_need_their_grid(tmp_path):
    model = timm_vit(img_size=(2 * 8, 8 * 8))
    path = saved(tmp_path / "m.pth", model.state_dict()).path  # 16 patches, as a square has
    encoder = import_encoder(path, dataclasses.replace(GIVEN, grid=(2, 8))).encoder
    assert encoder.spec.image_size == SIDE
    assert any("positions resized from 2x8 to 4x4" in line for line in encoder.history)
    straight = import_encoder(path, GIVEN).encoder
    assert not torch.equal(encoder.state["pos_embed"], straight.state["pos_embed"])
    assert torch.equal(encoder.state["pos_embed"][:, 0], straight.state["pos_embed"][:, 0])

    odd = saved(tmp_path / "n.pth", timm_vit(img_size=(16, 40)).state_dict()).path
    with pytest.raises(ValueError, match=r"11 position rows, expected a square grid .* as grid"):
        import_encoder(odd, GIVEN)
    assert import_encoder(odd, dataclasses.replace(GIVEN, grid=(2, 5))).encoder.spec.grid == 3
    with pytest.raises(ValueError, match=r"11 position rows, expected a grid of 3x5"):
        import_encoder(odd, dataclasses.replace(GIVEN, grid=(3, 5)))


def test_an_unexpected_tensor_is_refused_until_it_is_dropped(plain):
    path = plain(**{"blocks.0.adapt.weight": torch.ones(3), "attn_pool.q.weight": torch.ones(3)})
    with pytest.raises(ValueError, match=r"unexpected blocks\.0\.adapt\.weight, attn_pool\.q"):
        import_encoder(path, GIVEN)
    options = dataclasses.replace(GIVEN, drop=("attn_pool.", "*.adapt.*"))
    history = import_encoder(path, options).encoder.history
    assert any("user's word" in line and "attn_pool.q.weight" in line for line in history)


def test_a_word_to_drop_that_fits_nothing_is_refused(plain):
    with pytest.raises(ValueError, match="no tensor's name begins with 'attn_pol'"):
        import_encoder(plain(), dataclasses.replace(GIVEN, drop=("attn_pol",)))


@pytest.mark.parametrize(
    "name",
    ["blocks.1.norm2.bias", "blocks.0.attn.qkv.bias", "norm.weight", "patch_embed.proj.bias"],
)
def test_a_missing_tensor_is_named(tmp_path, name):
    state = timm_vit(init_values=0.1).state_dict()
    del state[name]
    with pytest.raises(ValueError, match=rf"(missing|lacks) {name}"):
        import_encoder(saved(tmp_path / "m.pth", state).path, GIVEN)


def test_a_final_norm_that_is_not_there_is_noticed_unless_dropped(tmp_path):
    state = {n: t for n, t in timm_vit().state_dict().items() if not n.startswith("norm.")}
    with pytest.raises(ValueError, match=r"lacks norm\.weight, which encoders of this format have"):
        import_encoder(saved(tmp_path / "m.pth", state).path, GIVEN)
    path = saved(tmp_path / "n.pth", timm_vit().state_dict()).path
    options = dataclasses.replace(GIVEN, drop=("norm.",))
    assert not import_encoder(path, options).encoder.spec.final_norm


def test_a_missing_block_is_named(tmp_path):
    state = timm_vit(depth=3).state_dict()
    gone = {name: t for name, t in state.items() if not name.startswith("blocks.1.")}
    with pytest.raises(ValueError, match=r"unexpected blocks\.2\.\S+, .*missing blocks\.1\."):
        import_encoder(saved(tmp_path / "m.pth", gone).path, GIVEN)


def test_a_key_bias_of_beit_that_is_not_zero_is_kept(tmp_path):
    state = timm_beit().state_dict()
    joined = dict(state)
    for i in range(2):
        joined[f"blocks.{i}.attn.k_bias"] = torch.randn(WIDTH)
    path = saved(tmp_path / "m.pth", joined).path
    encoder = import_encoder(path).encoder
    key = encoder.state["blocks.1.attn.qkv.bias"][WIDTH : 2 * WIDTH]
    assert torch.equal(key, joined["blocks.1.attn.k_bias"])


def test_the_key_bias_that_beit_has_not_is_zero(tmp_path):
    state = timm_beit().state_dict()  # features do not show it: softmax takes any key bias out
    encoder = import_encoder(saved(tmp_path / "m.pth", state).path).encoder
    query, key, value = encoder.state["blocks.1.attn.qkv.bias"].chunk(3)
    assert torch.equal(query, state["blocks.1.attn.q_bias"])
    assert not key.any()
    assert torch.equal(value, state["blocks.1.attn.v_bias"])


def test_a_missing_query_bias_is_not_made_up(tmp_path):
    state = timm_beit().state_dict()
    del state["blocks.0.attn.q_bias"]
    with pytest.raises(ValueError, match=r"unexpected blocks\.0\.attn\.v_bias; missing blocks\.0"):
        import_encoder(saved(tmp_path / "m.pth", state).path)


def test_relative_positions_of_another_order_are_refused(tmp_path):
    model = timm_beit()
    index = model.blocks[0].attn.relative_position_index
    state = model.state_dict() | {"blocks.0.attn.relative_position_index": index.T.contiguous()}
    with pytest.raises(ValueError, match="numbers its relative positions otherwise than BEiT"):
        import_encoder(saved(tmp_path / "m.pth", state).path)


def test_trained_relative_positions_of_detectron2_are_lost_only_knowingly(tmp_path):
    case = BUILDERS["detectron2"](tmp_path)
    state = torch.load(case.path)["model"]
    state["backbone.net.blocks.1.attn.rel_pos_w"][3, 1] = 1e-4
    path = saved(tmp_path / "trained.pth", {"model": state}).path
    with pytest.raises(ValueError, match=r"trained relative positions .*\.1\.attn\.rel_pos_w"):
        import_encoder(path, GIVEN)
    options = dataclasses.replace(GIVEN, drop=("*rel_pos_*",))
    assert any("user's word" in line for line in import_encoder(path, options).encoder.history)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(plain, value):
    weights = torch.ones(WIDTH)
    weights[3] = value
    path = plain(**{"blocks.1.norm1.weight": weights})
    with pytest.raises(ValueError, match=r"blocks\.1\.norm1\.weight holds NaN or infinite values"):
        import_encoder(path, GIVEN)


def test_another_mlp_ratio_is_refused(tmp_path):
    path = saved(tmp_path / "m.pth", timm_vit(mlp_ratio=3.0).state_dict()).path
    with pytest.raises(ValueError, match=r"blocks\.0\.mlp\.fc1\.weight is \[96, 32\].* four times"):
        import_encoder(path, GIVEN)


def test_grey_images_are_refused(tmp_path):
    path = saved(tmp_path / "m.pth", timm_vit(in_chans=1).state_dict()).path
    with pytest.raises(ValueError, match=r"patch embedding of shape \[32, 1, 8, 8\], expected"):
        import_encoder(path, GIVEN)


def test_several_encoders_that_are_no_copies_must_be_chosen_between(tmp_path):
    state = timm_vit().state_dict()
    both = {f"left.{n}": t for n, t in state.items()} | {f"right.{n}": -t for n, t in state.items()}
    path = saved(tmp_path / "m.pth", both).path
    with pytest.raises(ValueError, match=r"holds 2 encoders, at 'left\.', 'right\.'"):
        import_encoder(path, GIVEN)
    encoder = import_encoder(path, dataclasses.replace(GIVEN, drop=("left.",))).encoder
    assert torch.equal(encoder.state["norm.weight"], -state["norm.weight"])


@pytest.mark.parametrize("kept", ["model", "model_ema"])
def test_weights_are_taken_before_their_moving_average(tmp_path, kept):
    state = timm_vit().state_dict()
    average = {name: tensor + 1 for name, tensor in state.items()}
    content = {"model_ema": average} | ({"model": state} if kept == "model" else {})
    encoder = import_encoder(saved(tmp_path / "m.pth", content).path, GIVEN).encoder
    wanted = state if kept == "model" else average
    assert torch.equal(encoder.state["norm.bias"], wanted["norm.bias"])


def test_the_target_encoder_of_i_jepa_is_taken(tmp_path):
    model = timm_vit(class_token=False, global_pool="", fc_norm=False)
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    content = {
        "encoder": {name: tensor + 1 for name, tensor in state.items()},
        "predictor": {"module.predictor_pos_embed": torch.ones(1, 16, 8)},
        "target_encoder": state,
        "opt": {"state": {}},
    }
    options = dataclasses.replace(GIVEN, drop=("predictor.",))
    encoder = import_encoder(saved(tmp_path / "m.pth.tar", content).path, options).encoder
    assert torch.equal(encoder.state["norm.bias"], model.norm.bias)


def test_our_own_encoder_comes_back_with_its_own_spec(tmp_path, plain):
    encoder = import_encoder(plain(), GIVEN).encoder
    path = tmp_path / "encoder.safetensors"
    write_encoder(path, encoder.spec, encoder.state)
    imported = import_encoder(path)
    assert (imported.format, imported.encoder.spec) == ("mae-bench", encoder.spec)
    assert sorted(imported.arrival.matched) == sorted(encoder.state)
    assert import_encoder(path, ImportOptions(origin="dino")).encoder.spec.origin == "dino"
    with pytest.raises(ValueError, match="with a spec of its own; leave out format, heads"):
        import_encoder(path, GIVEN)


def test_our_own_autoencoder_gives_its_encoder(tmp_path):
    model = MAEObjective(MAE.demo())
    path = tmp_path / "pretrained.safetensors"
    save_pretrained(model, path)
    imported = import_encoder(path)
    assert (imported.format, imported.encoder.spec) == ("mae-bench", model.spec)
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in imported.encoder.state.items())


def test_a_safetensors_file_and_a_pickle_give_the_same(tmp_path, plain):
    first = import_encoder(plain("m.safetensors"), GIVEN).encoder
    second = import_encoder(plain("m.bin"), GIVEN).encoder
    assert first.spec == second.spec
    assert all(torch.equal(t, second.state[n]) for n, t in first.state.items())
    assert first.sha256 != second.sha256
