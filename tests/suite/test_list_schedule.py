import random

import pytest

from mae_bench.suite.cost.schedule import Piece, wall_seconds


def wall(pieces, devices):
    after = {}
    for piece in reversed(pieces):
        behind = [after[p.key] for p in pieces if p.after == piece.key]
        after[piece.key] = piece.seconds + max(behind, default=0.0)
    return wall_seconds(pieces, after, devices)


def test_independent_jobs_share_the_devices():
    pieces = [Piece(str(i), 10.0, 1) for i in range(6)]
    assert [wall(pieces, n) for n in (1, 2, 3, 6, 9)] == [60.0, 30.0, 20.0, 10.0, 10.0]


def test_a_job_waits_for_its_source():
    chain = [Piece("a", 5.0, 1), Piece("b", 7.0, 1, "a"), Piece("c", 1.0, 1, "b")]
    assert wall(chain, 8) == 13.0


def test_a_source_that_is_done_is_not_waited_for():
    assert wall([Piece("b", 7.0, 1, "a")], 1) == 7.0


def test_the_longest_chain_starts_first():
    """Started last, the chain of 10 + 10 would end at 30."""
    short = [Piece(f"s{i}", 10.0, 1) for i in range(2)]
    chain = [Piece("a", 10.0, 1), Piece("b", 10.0, 1, "a")]
    assert wall([*short, *chain], 2) == 20.0


def test_jobs_of_several_devices_run_beside_what_still_fits():
    pieces = [Piece("wide", 10.0, 6), Piece("narrow", 10.0, 2), Piece("later", 10.0, 4)]
    assert wall(pieces, 8) == 20.0


def test_a_job_wider_than_the_machine_takes_as_much_longer():
    assert wall([Piece("wide", 10.0, 8)], 2) == 40.0


def test_nothing_to_do_takes_no_time():
    assert wall([], 4) == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_no_schedule_beats_its_work_or_its_longest_chain(seed):
    draw = random.Random(seed)
    pieces = []
    for i in range(30):
        after = str(draw.randrange(i)) if i and draw.random() < 0.7 else ""
        pieces.append(Piece(str(i), draw.uniform(1, 9), 1, after))
    total = sum(piece.seconds for piece in pieces)
    longest = wall(pieces, 30)
    for devices in (1, 2, 4, 8):
        found = wall(pieces, devices)
        assert max(total / devices, longest) <= found + 1e-9
        assert found <= total / devices + longest + 1e-9  # Graham 1969
    assert wall(pieces, 1) == pytest.approx(total)
