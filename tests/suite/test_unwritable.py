import os
import subprocess
import sys
from pathlib import Path

import pytest

from mae_bench.suite.preflight import unwritable

PROGRAM = Path(sys.executable).with_name("mae-bench")


@pytest.fixture
def sealed(tmp_path):
    """A folder without permission for a user; for root, on a file system that takes no files."""
    folder = tmp_path / "sealed"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "none", folder]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        yield Path("/proc")  # where mounting is not allowed, as in a container
        return
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("option", ["--results", "--store"])
def test_a_folder_that_cannot_be_written_stops_the_run_before_any_job(tmp_path, sealed, option):
    words = [PROGRAM, "run", "--suite", "demo", option, sealed / "inner"]
    answer = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert answer.returncode == 3
    assert f"{option[2:]}: cannot write {sealed / 'inner'}" in answer.stderr
    assert f"pass {option} DIR" in answer.stderr
    assert not (tmp_path / "runs").exists() or not list(tmp_path.glob("runs/*"))


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "results").write_text("")
    (problem,) = unwritable(tmp_path / "results" / "demo", "results")
    assert str(tmp_path / "results") in problem
    assert "(Not a directory)" in problem


def test_trying_leaves_nothing_and_makes_no_folder(tmp_path):
    assert unwritable(tmp_path / "a" / "b", "store") == []
    assert list(tmp_path.iterdir()) == []
