from torch import nn

from mae_bench.kit.batch_norm_share import batch_norm_deviations, note_share
from mae_bench.kit.split import Split

NORMED = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm2d(4))
TOLD = ["BatchNorm over 8 images, published 64"]


def test_the_fewest_images_of_all_attempts_are_told():
    extra = {}
    assert batch_norm_deviations(NORMED, 64, extra) == []
    note_share(extra, Split(64, 0, 2, 32))
    assert batch_norm_deviations(NORMED, 64, extra) == []
    note_share(extra, Split(64, 0, 2, 4))
    assert batch_norm_deviations(NORMED, 64, extra) == TOLD
    note_share(extra, Split(64, 0, 1, 64))  # on a larger machine
    assert batch_norm_deviations(NORMED, 64, extra) == TOLD


def test_without_batch_norm_the_parts_of_a_batch_do_not_matter():
    extra = {}
    note_share(extra, Split(64, 0, 2, 4))
    assert batch_norm_deviations(nn.LayerNorm(4), 64, extra) == []
