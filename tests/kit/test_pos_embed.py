import numpy as np
import pytest
import torch

from mae_bench.kit.pos_embed import resize_pos_embed, sincos_pos_embed


@pytest.fixture
def golden(golden_file):
    return np.load(golden_file("pos_embed.npz"))


def test_sincos_embedding_equals_the_reference(golden):
    ours = sincos_pos_embed(int(golden["dim"]), int(golden["grid"]))[0].numpy()
    np.testing.assert_allclose(ours, golden["sincos"], rtol=1e-6, atol=1e-6)


def test_resized_embedding_equals_the_reference(golden):
    side = int(golden["new_grid"])
    ours = resize_pos_embed(torch.tensor(golden["sincos"])[None].float(), (side, side)).numpy()
    np.testing.assert_allclose(ours, golden["interpolated"], rtol=1e-5, atol=1e-6)


def test_resizing_leaves_the_cls_row_and_an_equal_grid_untouched():
    embed = torch.randn(1, 17, 8)
    assert torch.equal(resize_pos_embed(embed, (4, 4)), embed)
    assert torch.equal(resize_pos_embed(embed, (3, 6))[:, 0], embed[:, 0])
    assert resize_pos_embed(embed, (3, 6)).shape == (1, 19, 8)


def test_a_width_not_divisible_by_four_is_refused():
    with pytest.raises(ValueError, match="divisible by 4, got 6"):
        sincos_pos_embed(6, 4)


def test_an_embedding_without_a_square_grid_is_refused():
    with pytest.raises(ValueError, match="square grid"):
        resize_pos_embed(torch.zeros(1, 16, 8), (4, 4))
