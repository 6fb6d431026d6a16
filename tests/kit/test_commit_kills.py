import json
import os
import signal
import sys

import pytest
import torch

from mae_bench.core import files
from mae_bench.core.files import write_json
from mae_bench.kit.checkpoint import Checkpoints


def killed_at_line(number, work):
    """Do the work in a child that SIGKILL ends before that line of the writing functions.

    Returns whether it was killed: there are not so many lines otherwise.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    left = [number]

    def trace(frame, event, argument):
        if frame.f_code.co_filename != files.__file__:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    work()
    os._exit(0)


def kills(work, check):
    """Kill the work before every line of its writing, checking after each; return how often."""
    number = 1
    while killed_at_line(number, work):
        check()
        number += 1
    return number - 1


def test_killed_at_any_point_of_a_save_the_last_whole_checkpoint_is_used(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"step": 1, "weights": torch.ones(100)})
    found = []

    def check():
        state = checkpoints.newest()
        assert torch.equal(state["weights"], torch.full((100,), float(state["step"])))
        found.append(state["step"])
        for path in tmp_path.glob("step-000000002-*.pt"):
            path.unlink()

    def save():
        checkpoints.save(2, {"step": 2, "weights": torch.full((100,), 2.0)})

    assert kills(save, check) >= 10
    assert set(found) == {1, 2}
    assert found == sorted(found)
    assert not list(tmp_path.glob("*.damaged"))


def test_killed_at_any_point_a_result_is_absent_or_whole(tmp_path):
    path, content = tmp_path / "result.json", {"key": "k", "metrics": {"score": 50.0}}
    found = []

    def check():
        found.append(path.exists())
        if path.exists():
            assert json.loads(path.read_text()) == content
            path.unlink()

    assert kills(lambda: write_json(path, content), check) >= 10
    assert set(found) == {True, False}


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_write_cut_off_in_the_middle_is_never_taken_for_a_checkpoint(tmp_path, share):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"step": 1})
    (whole,) = tmp_path.glob("*.pt")
    content = whole.read_bytes()
    part = tmp_path / "step-000000002-0123456789abcdef.pt.77.part"
    part.write_bytes(content[: int(share * len(content))])
    assert checkpoints.newest()["step"] == 1
