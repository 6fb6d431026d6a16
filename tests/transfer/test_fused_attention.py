import copy

import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import ViT
from detectron2.modeling.backbone.utils import window_partition, window_unpartition
from detectron2.modeling.backbone.vit import Attention

from mae_bench.core.compute import Compute
from mae_bench.kit.machine import Machine
from mae_bench.kit.ranks import Ranks
from transfer.detectron2_adapter.attention import (
    DecomposedAttention,
    FusedViT,
    PlainAttention,
    TableAttention,
)

SETTINGS = {
    "img_size": 64,
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 4,
    "num_heads": 2,
    "window_size": 3,
    "window_block_indexes": [0, 2],
    "pretrain_img_size": 32,
    "use_rel_pos": True,
    "rel_pos_zero_init": False,
}


def gradients(module, value):
    """Return the gradients of input and parameters of a loss that sees every output."""
    value = value.clone().requires_grad_(True)
    out = module(value)
    out = out["last_feat"] if isinstance(out, dict) else out
    weights = torch.linspace(-1, 1, out.numel()).view_as(out)
    (weights * out).sum().backward()
    return out, {n: p.grad for n, p in module.named_parameters()} | {"input": value.grad}


def assert_same(ours, theirs, value):
    found, expected = gradients(ours, value), gradients(theirs, value)
    torch.testing.assert_close(found[0], expected[0], atol=1e-5, rtol=1e-5)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("sides", [(5, 7), (8, 8), (6, 9)], ids=str)
def test_decomposed_attention_is_detectron2s_with_its_gradients(sides):
    torch.manual_seed(0)
    theirs = Attention(32, 2, use_rel_pos=True, rel_pos_zero_init=False, input_size=(5, 7))
    with torch.no_grad():
        theirs.rel_pos_h.mul_(25)  # else the relative terms are too small to tell
        theirs.rel_pos_w.mul_(25)
    grid = torch.randn(3, *sides, 32)  # another size than the tables': they are interpolated
    assert_same(DecomposedAttention(copy.deepcopy(theirs)), theirs, grid)


def test_attention_without_relative_positions_is_detectron2s():
    torch.manual_seed(0)
    theirs = Attention(32, 2)
    assert_same(PlainAttention(copy.deepcopy(theirs)), theirs, torch.randn(3, 4, 6, 32))


def test_relative_terms_count():
    torch.manual_seed(0)
    given = Attention(32, 2, use_rel_pos=True, rel_pos_zero_init=False, input_size=(5, 5))
    grid = torch.randn(1, 5, 5, 32)
    ours = DecomposedAttention(given)
    with_rows = ours(grid)
    given.rel_pos_h.data.mul_(50)
    assert (ours(grid) - with_rows).abs().max() > 1e-3


def random_vits(**settings):
    """Return detectron2's ViT and ours with the same random weights."""
    torch.manual_seed(0)
    theirs, ours = ViT(**SETTINGS | settings), FusedViT(**SETTINGS | settings)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize("relative", [True, False])
def test_the_vit_is_detectron2s_with_its_gradients_and_names(relative):
    theirs, ours = random_vits(use_rel_pos=relative)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert_same(ours, theirs, torch.randn(2, 3, 64, 64))  # 8x8 patches in windows of 3: padded


def test_recomputed_blocks_give_the_same_loss_and_gradients():
    _, kept = random_vits(drop_path_rate=0.5)
    _, again = random_vits(drop_path_rate=0.5)
    machine = Machine(Ranks(0, 1, torch.device("cpu")), Compute(recompute=True))
    machine.take(again)
    calls = []
    again.blocks[1].register_forward_pre_hook(lambda *_: calls.append(1))
    images, found = torch.randn(2, 3, 64, 64), []
    for vit in (kept.train(), again.train()):
        torch.manual_seed(1)
        found.append(gradients(vit, images))
    assert len(calls) == 2  # once forward, once for the gradient
    assert torch.equal(found[0][0], found[1][0])
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, atol=1e-6, rtol=1e-5, msg=name)


def looped(attention, window):
    """Return attention within one window, pair by pair."""
    side, heads = attention.side, attention.num_heads
    tokens = window.reshape(side * side, -1)
    q, k, v = F.linear(tokens, attention.qkv.weight, attention.qkv.bias).chunk(3, dim=-1)
    size, table = q.shape[-1] // heads, attention.relative_position_bias_table
    out = torch.zeros_like(tokens)
    for head in range(heads):
        mine = slice(head * size, (head + 1) * size)
        scores = torch.zeros(side * side, side * side, dtype=tokens.dtype)
        for i in range(side * side):
            for j in range(side * side):
                row = i // side - j // side + side - 1
                column = i % side - j % side + side - 1
                bias = table[row * (2 * side - 1) + column, head]
                scores[i, j] = q[i, mine] @ k[j, mine] / size**0.5 + bias
        out[:, mine] = scores.softmax(dim=-1) @ v[:, mine]
    return attention.proj(out).reshape(side, side, -1)


def test_table_attention_in_windows_is_a_loop_over_windows_and_pairs():
    torch.manual_seed(0)
    attention = TableAttention(Attention(8, 2), side=3).double()
    torch.nn.init.normal_(attention.relative_position_bias_table, std=2.0)
    grid = torch.randn(2, 5, 4, 8, dtype=torch.float64)
    with torch.no_grad():
        windows, padded = window_partition(grid, 3)
        found = window_unpartition(attention(windows), 3, padded, (5, 4))
        whole = torch.zeros(2, 6, 6, 8, dtype=torch.float64)
        whole[:, :5, :4] = grid  # padded with zeros that attend and are attended to
        expected = torch.zeros_like(whole)
        for image in range(2):
            for top in (0, 3):
                for left in (0, 3):
                    place = (image, slice(top, top + 3), slice(left, left + 3))
                    expected[place] = looped(attention, whole[place])
    torch.testing.assert_close(found, expected[:, :5, :4], atol=1e-12, rtol=1e-12)


def test_a_zero_table_is_no_bias_and_learns():
    torch.manual_seed(0)
    plain = PlainAttention(Attention(8, 2))
    attention = TableAttention(copy.deepcopy(plain), side=4)
    grid = torch.randn(2, 4, 4, 8)
    torch.testing.assert_close(attention(grid), plain(grid), atol=1e-6, rtol=1e-6)
    attention(grid).square().sum().backward()
    table = attention.relative_position_bias_table
    assert table.shape == (49, 2)
    assert (table.grad != 0).all()


def test_a_grid_of_another_size_than_the_table_is_refused():
    attention = TableAttention(Attention(8, 2), side=4)
    with pytest.raises(ValueError, match=r"of 4x4 patches, got a grid of 4x5; images must be"):
        attention(torch.randn(1, 4, 5, 8))
