import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from mae_bench.kit.batch_norm import RankBatchNorm, synced
from mae_bench.kit.ranks import Ranks


def images():
    return torch.randn(4, 5, 2, 3, generator=torch.Generator().manual_seed(0)) * 3 + 1


def norm():
    one = nn.BatchNorm2d(5, eps=1e-3)
    with torch.no_grad():
        one.weight.copy_(torch.linspace(0.5, 2, 5))
        one.bias.copy_(torch.linspace(-1, 1, 5))
    return one


def answer(module, rows):
    rows = rows.clone().requires_grad_()
    out = module(rows)
    (out.sin() * 2).sum().backward()
    return out.detach(), rows.grad


def on_rank(rank, counts, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    model = nn.Sequential(norm())
    before = dict(model.named_parameters())
    whole = synced(model, Ranks(rank, 2, torch.device("cpu")))
    assert isinstance(whole[0], RankBatchNorm)
    assert all(before[name] is parameter for name, parameter in whole.named_parameters())
    whole(images()[:0])  # no rows on any rank: the statistics stay
    assert not whole[0].running_mean.any()
    assert whole[0].num_batches_tracked == 0
    half = whole(images()[rank : 2 + rank].bfloat16())
    assert half.dtype == torch.bfloat16
    seen = torch.cat([images()[:2], images()[1:3]]).bfloat16().float().mean((0, 2, 3))
    torch.testing.assert_close(whole[0].running_mean, 0.1 * seen)
    whole[0].reset_running_stats()
    out, gradient = answer(whole, images().split(counts)[rank])
    for parameter in whole.parameters():
        dist.all_reduce(parameter.grad)
    state = dict(whole[0].named_buffers()) | {n: p.grad for n, p in whole[0].named_parameters()}
    torch.save((out, gradient, state), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("counts", [(3, 1), (4, 0)])
def test_two_ranks_normalise_as_one_batch_does(tmp_path, counts):
    mp.spawn(on_rank, (counts, tmp_path), nprocs=2)
    alone = norm()
    out, gradient = answer(alone, images())
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    torch.testing.assert_close(torch.cat([one[0] for one in found]), out)
    torch.testing.assert_close(torch.cat([one[1] for one in found]), gradient)
    for _, _, state in found:
        torch.testing.assert_close(state["running_mean"], alone.running_mean)
        torch.testing.assert_close(state["running_var"], alone.running_var)
        assert state["num_batches_tracked"] == 1
        torch.testing.assert_close(state["weight"], alone.weight.grad)
        torch.testing.assert_close(state["bias"], alone.bias.grad)


def test_one_rank_keeps_torchs_own():
    model = nn.Sequential(norm())
    assert type(synced(model, Ranks(0, 1, torch.device("cpu")))[0]) is nn.BatchNorm2d
