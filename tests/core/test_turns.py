import os
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from mae_bench.core import owner
from mae_bench.core.files import append_metrics, write_json
from mae_bench.core.owner import this_process
from mae_bench.core.turns import MINE, Superseded, Taken, newest, take

RACE = """
import sys
from pathlib import Path
from mae_bench.core.owner import this_process
from mae_bench.core.turns import Taken, take
sys.stdin.readline()
try:
    print(take(Path(sys.argv[1]), 0, this_process()).number)
except Taken:
    print("taken")
"""


def test_of_several_processes_one_gets_the_turn(tmp_path):
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, tmp_path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    answers = [racer.communicate("go\n")[0].strip() for racer in racers]
    assert sorted(answers) == ["1", "taken", "taken", "taken"]


def test_a_turn_lives_while_its_process_does_and_until_it_ends(tmp_path):
    turn = take(tmp_path, 0, this_process())
    assert turn.alive
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    began = owner._began(other.pid)
    theirs = take(tmp_path, 1, replace(this_process(), pid=other.pid, began=began))
    again = take(tmp_path, 2, replace(this_process(), pid=other.pid, began="1"))
    assert theirs.alive
    assert not again.alive  # another process has that id now
    other.communicate(b"\n")
    assert not theirs.alive
    turn.end("done", code=0)
    assert not turn.alive
    assert turn.ended["outcome"] == "done"
    assert newest(tmp_path).number == 3


@pytest.mark.parametrize(("silent_s", "alive"), [(0, True), (300, True), (601, False)])
def test_an_owner_elsewhere_lives_until_its_lease_ends(tmp_path, silent_s, alive):
    turn = take(tmp_path, 0, replace(this_process(), host="elsewhere"))
    then = time.time() - silent_s
    os.utime(turn.folder / "beat", (then, then))
    assert turn.alive is alive


@pytest.mark.parametrize(("silent_s", "alive"), [(0, True), (20, True), (31, False)])
def test_a_turn_without_an_owner_counts_as_dead_soon(tmp_path, silent_s, alive):
    folder = tmp_path / "1"
    folder.mkdir()
    then = time.time() - silent_s
    os.utime(folder, (then, then))
    assert newest(tmp_path).alive is alive


def test_of_several_takers_each_turn_has_its_owner_from_the_start(tmp_path):
    for number in range(20):
        take(tmp_path, number, this_process())
        assert newest(tmp_path).owner.is_this_process
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.isdecimal()) == []


def test_a_process_of_another_container_is_not_looked_up_by_its_number(tmp_path):
    other = replace(this_process(), system="another boot pid:[1]", pid=2**22 + 1)
    assert take(tmp_path, 0, other).alive
    nowhere = replace(this_process(), system="", pid=2**22 + 1)
    assert take(tmp_path, 1, nowhere).alive


def test_what_an_older_attempt_writes_never_arrives(tmp_path, monkeypatch):
    mine = take(tmp_path / "attempts", 0, this_process())
    monkeypatch.setenv(MINE, str(mine.folder))
    write_json(tmp_path / "result.json", 1)
    take(tmp_path / "attempts", 1, this_process())
    for write in (
        lambda: write_json(tmp_path / "result.json", 2),
        lambda: append_metrics(tmp_path, step=1, steps=2),
    ):
        with pytest.raises(Superseded) as end:
            write()
        assert end.value.code == 76
    assert (tmp_path / "result.json").read_text() == "1\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["attempts", "result.json"]
    write_json(tmp_path.parent / "elsewhere.json", 3)  # what is not of the job is not fenced
    mine.note("own.json", fine=True)


def test_taking_a_turn_twice_is_refused(tmp_path):
    take(tmp_path, 0, this_process())
    with pytest.raises(Taken, match="was taken by another process"):
        take(tmp_path, 0, this_process())


def test_an_owner_says_who_it_is(tmp_path):
    owner = take(tmp_path, 0, this_process("slurm/12/0")).owner
    assert owner.here
    assert owner.runs
    assert str(owner).startswith(f"process {os.getpid()} on {socket.gethostname()}, slurm/12/0")
