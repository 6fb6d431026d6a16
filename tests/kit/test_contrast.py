import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mae_bench.kit.contrast import (
    Queue,
    gathered,
    info_nce,
    mean_cosine,
    nt_xent,
    own_rows,
    queue_nce,
)

TEMPERATURES = [0.07, 0.2, 1.0]


def draw(seed, rows=6, width=4):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def cosine(one, other):
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    squares = [sum(a * a for a in row) for row in (one, other)]
    return dot / math.sqrt(squares[0]) / math.sqrt(squares[1])


def told_apart(query, keys, right, temperature):
    """Return the cross entropy of telling the right key, straight from its definition."""
    terms = [math.exp(cosine(query, key) / temperature) for key in keys]
    return -math.log(terms[right] / sum(terms))


def loop_info_nce(queries, keys, temperature):
    rows = enumerate(queries)
    return sum(told_apart(q, keys, i, temperature) for i, q in rows) / len(queries)


def loop_nt_xent(first, second, temperature):
    views, number, total = first + second, len(first), 0.0
    for i, view in enumerate(views):
        others = views[:i] + views[i + 1 :]
        other = (i + number) % (2 * number)
        total += told_apart(view, others, other - (other > i), temperature)
    return total / len(views)


def loop_queue_nce(queries, keys, queue, temperature):
    pairs = zip(queries, keys, strict=True)
    return sum(told_apart(q, [k, *queue], 0, temperature) for q, k in pairs) / len(queries)


def slopes(function, rows, step=1e-5):
    """Return the derivatives of a function of a list of lists, by central differences."""
    found = [[0.0] * len(row) for row in rows]
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            row[j] = value + step
            above = function(rows)
            row[j] = value - step
            found[i][j] = (above - function(rows)) / (2 * step)
            row[j] = value
    return torch.tensor(found)


def assert_loss_and_slopes(loss, loop, tensors):
    """Check a loss of tensors and all its gradients against a loop over lists, in float64."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    found = loss(*leaves)
    found.backward()
    lists = [tensor.double().tolist() for tensor in tensors]
    assert found.item() == pytest.approx(loop(*lists), rel=2e-6)
    for place, leaf in enumerate(leaves):

        def of_one(rows, place=place):
            return loop(*lists[:place], rows, *lists[place + 1 :])

        torch.testing.assert_close(leaf.grad, slopes(of_one, lists[place]), rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_info_nce_and_its_gradients_are_those_of_a_double_loop(temperature):
    assert_loss_and_slopes(
        lambda queries, keys: info_nce(queries, keys, temperature),
        lambda queries, keys: loop_info_nce(queries, keys, temperature),
        [draw(0), draw(1)],
    )


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_nt_xent_and_its_gradients_are_those_of_a_double_loop(temperature):
    assert_loss_and_slopes(
        lambda first, second: nt_xent(first, second, temperature),
        lambda first, second: loop_nt_xent(first, second, temperature),
        [draw(2), draw(3)],
    )


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_queue_nce_and_its_gradients_are_those_of_a_double_loop(temperature):
    queue = torch.nn.functional.normalize(draw(4, rows=9), dim=1)
    assert_loss_and_slopes(
        lambda queries, keys: queue_nce(queries, keys, queue, temperature),
        lambda queries, keys: loop_queue_nce(queries, keys, queue.double().tolist(), temperature),
        [draw(5), draw(6)],
    )


def test_the_mean_cosine_and_its_gradients_are_those_of_a_loop():
    def loop(first, second):
        return sum(map(cosine, first, second)) / len(first)

    assert_loss_and_slopes(mean_cosine, loop, [draw(0), draw(1)])


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_orthonormal_rows_give_the_closed_forms(temperature):
    rows, right = torch.eye(8), math.exp(1 / temperature)
    one = math.log(1 + 7 / right)
    assert info_nce(rows, rows, temperature).item() == pytest.approx(one, rel=1e-5, abs=5e-7)
    both = math.log(1 + 14 / right)
    assert nt_xent(rows, rows, temperature).item() == pytest.approx(both, rel=1e-5, abs=5e-7)
    found = queue_nce(rows[:3], rows[:3], rows[3:], temperature).item()
    assert found == pytest.approx(math.log(1 + 5 / right), rel=1e-5, abs=5e-7)


def test_rows_that_are_all_the_same_give_the_logarithm_of_what_is_told_apart():
    rows = torch.tensor([[3.0, -4.0]]).expand(8, 2)
    assert info_nce(rows, rows, 0.2).item() == pytest.approx(math.log(8))
    assert nt_xent(rows, rows, 0.2).item() == pytest.approx(math.log(15))
    assert queue_nce(rows, rows, rows[:5] / 5, 0.2).item() == pytest.approx(math.log(6))


def test_the_lengths_of_rows_do_not_matter():
    first, second, queue = draw(0), draw(1), torch.nn.functional.normalize(draw(2), dim=1)
    lengths = torch.linspace(0.01, 100, 6)[:, None]
    for loss in (info_nce, nt_xent, lambda a, b, t: queue_nce(a, b, queue, t)):
        scaled = loss(first * lengths, second * lengths.flip(0), 0.2)
        torch.testing.assert_close(scaled, loss(first, second, 0.2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_outputs_are_compared_in_float32(dtype):
    first, second = draw(0).to(dtype), draw(1).to(dtype)
    for loss in (*LOSSES.values(), lambda a, b, t: mean_cosine(a, b)):
        with torch.autocast("cpu", dtype):
            found = loss(first, second, 0.07)
        assert found.dtype == torch.float32
        assert torch.equal(found, loss(first.float(), second.float(), 0.07))


def test_a_queue_keeps_the_newest_keys_in_the_place_of_the_oldest():
    queue = Queue(6, 3)
    batches = [draw(seed, rows=2, width=3) for seed in range(4)]
    for keys in batches:
        queue.waiting = keys
        queue.push()
    rows = torch.cat([batches[3], batches[1], batches[2]])
    torch.testing.assert_close(queue.keys, rows / rows.norm(dim=1, keepdim=True))
    assert queue.place == 2
    assert queue.waiting is None


LOSSES = {
    "info_nce": info_nce,
    "nt_xent": nt_xent,
    "queue_nce": lambda a, b, t: queue_nce(a, b, torch.nn.functional.normalize(draw(7), dim=1), t),
}


def answers(first, second, loss):
    leaves = [rows.clone().requires_grad_() for rows in (first, second)]
    found = loss(*leaves, 0.2)
    found.backward()
    return found.detach(), *(leaf.grad for leaf in leaves)


def on_rank(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    mine = slice(3 * rank, 3 * rank + 3)
    assert own_rows(3, torch.device("cpu")).tolist() == [3 * rank + i for i in range(3)]
    found = {name: answers(draw(0)[mine], draw(1)[mine], LOSSES[name]) for name in LOSSES}
    keys = draw(0)[mine].requires_grad_()
    far = gathered(keys)[3 * (1 - rank)]  # of the other rank, which weighs it by 1 and 2
    (far * (rank + 1)).sum().backward()
    queue = Queue(12, 4)
    queue.keys.zero_()
    queue.waiting = draw(0)[mine]
    queue.push()
    torch.save((found, gathered(draw(0)[mine]), keys.grad, queue.keys), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(on_rank, (folder,), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", LOSSES)
def test_two_ranks_give_the_loss_and_gradients_of_one(ranks, name):
    """Halved, since the whole loss is the mean of the two ranks' losses."""
    value, *slopes_of_one = answers(draw(0), draw(1), LOSSES[name])
    values, *slopes_of_ranks = zip(*(found[name] for found, *_ in ranks), strict=True)
    torch.testing.assert_close(torch.stack(values).mean(), value)
    for whole, parts in zip(slopes_of_one, slopes_of_ranks, strict=True):
        torch.testing.assert_close(torch.cat(parts) / 2, whole)


def test_gathered_rows_are_in_the_order_of_ranks_and_send_gradients_back(ranks):
    for rank, (_, rows, gradient, _) in enumerate(ranks):
        assert torch.equal(rows, draw(0))
        wanted = torch.zeros(3, 4)
        wanted[0] = 2 - rank
        assert torch.equal(gradient, wanted)


def test_queues_take_the_keys_of_all_ranks(ranks):
    rows = draw(0) / draw(0).norm(dim=1, keepdim=True)
    for *_, keys in ranks:
        torch.testing.assert_close(keys, torch.cat([rows, torch.zeros(6, 4)]))
