"""Nearest neighbours in blocks against one product of all queries with the whole bank.

python benchmarks/knn.py [--bank 40960] [--queries 2000] [--width 768] [--rounds 3]
Time as medians side by side, and what each adds to the process's memory (the GPU's, where there is
one). From the same run follows what ImageNet takes: 1,281,167 features and 50,000 queries.
"""

import argparse
import multiprocessing
import resource
from collections.abc import Callable

import torch
from side_by_side import medians, report
from torch.nn.functional import normalize as unit

from mae_bench.kit.knn import BANK, QUERIES, neighbours

K = 200
IMAGENET = (1_281_167, 50_000)


def made(options: argparse.Namespace) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features of a bank in float16, as the cache has them, and of queries."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    bank = torch.randn(options.bank, options.width).half()
    return bank, torch.randn(options.queries, options.width).to(device)


def plain(bank: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    """Return the nearest by one product."""
    all_of_it = unit(bank.to(queries.device).float(), dim=1)
    return (unit(queries, dim=1) @ all_of_it.T).topk(K, dim=1).indices


def ours(bank: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    """Return the nearest by the project's blocks."""
    return neighbours(bank.split(BANK), queries, K).index


def peak(work: Callable[..., torch.Tensor], options: argparse.Namespace) -> int:
    """Return the bytes that the work adds to the highest memory there was before it."""
    bank, queries = made(options)
    if torch.cuda.is_available():
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work(bank, queries)
        return torch.cuda.max_memory_allocated() - before
    work(bank[:K], queries[:1])  # the libraries' own
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work(bank, queries)
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def imagenet_memory(width: int) -> float:
    """Return GiB: the queries, their nearest before and after a block, one block's work."""
    queries = IMAGENET[1] * width * 4
    nearest = 2 * IMAGENET[1] * K * (4 + 8)
    block = BANK * width * (2 + 4) + QUERIES * BANK * 4 + 4 * QUERIES * (K + 1) * (4 + 8)
    return (queries + nearest + block) / 2**30


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bank", type=int, default=40_960)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    works = {"plain": plain, "blocks": ours}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        memory = {n: pool.apply(peak, (work, options)) / 2**20 for n, work in works.items()}
    bank, queries = made(options)
    same = float((plain(bank, queries) == ours(bank, queries)).float().mean())
    seconds = medians(
        {name: lambda work=work: work(bank, queries) for name, work in works.items()},
        options.rounds,
    )
    times = IMAGENET[0] * IMAGENET[1] / (options.bank * options.queries)
    whole = 4 * (IMAGENET[0] * IMAGENET[1] + sum(IMAGENET) * options.width) / 2**30
    report(
        f"{K} nearest of {options.bank} for {options.queries} queries, width {options.width}",
        {
            "plain": f"{seconds['plain']:.2f} s, {memory['plain']:.0f} MiB",
            "blocks": f"{seconds['blocks']:.2f} s, {memory['blocks']:.0f} MiB, "
            f"{seconds['blocks'] / seconds['plain']:.2f}x the time",
            "same places": f"{100 * same:.3f} %",
            "ImageNet, plain": f"{whole:.0f} GiB",
            "ImageNet, blocks": f"{seconds['blocks'] * times / 60:.0f} min, "
            f"{imagenet_memory(options.width):.1f} GiB besides the bank on disk (estimated)",
        },
    )


if __name__ == "__main__":
    main()
