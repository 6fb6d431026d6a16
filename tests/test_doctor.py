import subprocess
import sys
import venv
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("mae-bench")


def doctor(folder):
    """Return exit code and the printed lines by subject."""
    answer = subprocess.run(
        [PROGRAM, "doctor"], cwd=folder, capture_output=True, text=True, check=False
    )
    lines = [line.split(maxsplit=2) for line in answer.stdout.splitlines()]
    return answer.returncode, {subject: (mark, found) for mark, subject, found in lines}


@pytest.fixture
def bare_python(tmp_path):
    """Return an interpreter of an environment in which nothing is installed."""
    venv.create(tmp_path / "bare", symlinks=True)
    return tmp_path / "bare" / "bin" / "python"


def test_an_environment_with_both_toolboxes_is_found_whole(tmp_path):
    code, found = doctor(tmp_path)
    assert code == 0, found
    assert found["detectron2"][0] == "ok"
    assert "mmseg 1.2.2" in found["mmseg"][1]
    assert found["coco"][1].startswith("no folder given")


def test_a_missing_toolbox_is_named_with_its_jobs_and_its_cure(tmp_path, bare_python):
    (tmp_path / "site.toml").write_text(f"[python]\nmmseg = '{bare_python}'\n")
    code, found = doctor(tmp_path)
    assert code == 3
    mark, text = found["mmseg"]
    assert mark == "MISSING"
    assert "torch is not installed; pip install torch torchvision" in text
    assert text.endswith("[blocks: ade20k_upernet, voc_segmentation]")
    assert found["detectron2"][0] == "ok"


def test_an_interpreter_that_is_not_there_is_named(tmp_path):
    (tmp_path / "site.toml").write_text("[python]\ndetectron2 = 'gone/bin/python'\n")
    code, found = doctor(tmp_path)
    assert code == 3
    assert f"no Python at {tmp_path}/gone/bin/python" in found["detectron2"][1]
    assert "set python.detectron2 in site.toml" in found["detectron2"][1]


def test_a_half_data_set_is_named(tmp_path):
    (tmp_path / "half" / "train").mkdir(parents=True)
    (tmp_path / "site.toml").write_text("[data]\nimagenet = 'half'\n")
    _, found = doctor(tmp_path)
    mark, text = found["imagenet"]
    assert mark == "MISSING"
    assert f"{tmp_path}/half/val" in text
