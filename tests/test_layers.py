import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINT = Path(sys.executable).with_name("lint-imports")


def lint(folder):
    return subprocess.run(
        [LINT, "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(folder), "PATH": ""},
    )


def test_every_floor_imports_only_what_lies_below():
    answer = lint(ROOT)
    assert answer.returncode == 0, answer.stdout
    assert "5 kept, 0 broken" in answer.stdout


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("mae_bench/core/job.py", "import numpy"),
        ("mae_bench/kit/spec.py", "import pretrain.mae"),
        ("mae_bench/suite/plan.py", "import torch"),
        ("pretrain/mae.py", "import transfer.classification"),
        ("transfer/classification.py", "import detectron2"),
        ("transfer/detectron2_adapter/model.py", "import mmseg"),
    ],
)
def test_an_import_of_a_higher_floor_is_seen(tmp_path, file, line):
    for name in ("mae_bench", "pretrain", "transfer"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / file
    path.write_text(path.read_text() + f"\n{line}\n")
    answer = lint(tmp_path)
    assert answer.returncode == 1, answer.stdout
    assert "1 broken" in answer.stdout
