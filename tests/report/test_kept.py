import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mae_bench.report.kept import MEMORY, report_of

LINEAR, COCO = "imagenet_linear", "coco_vitdet"


@pytest.fixture
def tables(filled: Any, tmp_path: Path) -> Any:
    """Return a function: blocked -> the report, and the bytes and times of its files before."""

    class Tables:
        folder = tmp_path / "tables"

        def write(self, **blocked: str) -> Any:
            return report_of(filled.plan, filled.store, self.folder, blocked)

        def state(self) -> dict[str, tuple[bytes, int]]:
            files = sorted(self.folder.rglob("*.*"))
            return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    return Tables()


def text(tables: Any) -> str:
    return (tables.folder / "leaderboard.md").read_text()


def test_tables_that_are_there_just_so_are_not_touched(tables: Any) -> None:
    first = tables.write()
    before = tables.state()
    assert tables.write() == first
    assert tables.state() == before
    assert "MAE" in first.main_table


def test_a_new_number_gets_into_the_tables(tables: Any, filled: Any) -> None:
    tables.write()
    filled.fill("MAE", COCO, 33.3)
    assert "33.3" in tables.write().main_table
    assert "33.3" in text(tables)


def test_a_lost_result_leaves_a_hole(tables: Any, filled: Any) -> None:
    tables.write()
    job = filled.jobs("MAE", COCO)[0]
    (filled.store.dir(job) / "result.json").unlink()
    assert "0/1" in tables.write().main_table
    filled.fail(job, "ValueError: out of luck")
    tables.write()
    assert "out of luck" in text(tables)


def test_why_a_job_is_blocked_gets_into_the_tables(tables: Any, filled: Any) -> None:
    job = filled.jobs("MAE", COCO)[0]
    (filled.store.dir(job) / "result.json").unlink()
    tables.write()
    tables.write(**{job.key: "no detector here"})
    assert "no detector here" in text(tables)


@pytest.mark.parametrize("name", ["leaderboard.md", "long.csv", "leaderboard.json"])
def test_a_table_that_somebody_changed_or_deleted_is_written_again(tables: Any, name: str) -> None:
    tables.write()
    path = tables.folder / name
    right = path.read_bytes()
    path.write_bytes(right.replace(b"MAE", b"EAM"))
    tables.write()
    assert path.read_bytes() == right
    path.unlink()
    tables.write()
    assert path.read_bytes() == right


def test_a_new_picture_is_copied(tables: Any, filled: Any) -> None:
    tables.write()
    folder = filled.store.dir(filled.jobs("MAE", COCO)[0]) / "figures"
    folder.mkdir()
    (folder / "detections.png").write_bytes(b"picture")
    report = tables.write()
    assert report.paths[-1].read_bytes() == b"picture"


@pytest.mark.parametrize("damaged", ["{", "[]", "{}", '{"made_from": 1}'])
def test_a_damaged_memory_is_made_anew(tables: Any, filled: Any, damaged: str) -> None:
    first = tables.write()
    (memory,) = (filled.store.root / MEMORY).iterdir()
    good = memory.read_text()
    memory.write_text(damaged)
    assert tables.write() == first
    assert json.loads(memory.read_text()) == json.loads(good)


def test_two_folders_of_tables_have_a_memory_each(tables: Any, filled: Any, tmp_path: Path) -> None:
    tables.write()
    report_of(filled.plan, filled.store, tmp_path / "other", {})
    assert len(list((filled.store.root / MEMORY).iterdir())) == 2
    before = tables.state()
    tables.write()
    assert tables.state() == before


UNCHANGED = """
import sys
from pathlib import Path
from mae_bench.report.kept import report_of
from mae_bench.suite.plan import plan
from mae_bench.suite.presets import smoke
from mae_bench.suite.store import Store
report_of(plan(smoke(), {}), Store(Path("runs")), Path("out"), {})
print("pandas" in sys.modules)
"""


def test_pandas_is_loaded_only_for_tables_that_changed(tmp_path: Path) -> None:
    def loaded() -> str:
        command = [sys.executable, "-c", UNCHANGED]
        answer = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True, env=os.environ
        )
        return answer.stdout.strip()

    assert [loaded(), loaded()] == ["True", "False"]
