import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mae_bench.report.kept import FRONT_PAGE, MEMORY, all_that_decides, remembered, report_of
from mae_bench.suite.suite import Column, made_row
from mae_bench.suite.tiers import other_tiers

COCO = "coco_vitdet"


@pytest.fixture
def tables(one: Any, tmp_path: Path) -> Any:
    """Return a function: blocked -> the report, and the bytes and times of its files before."""

    class Tables:
        folder = tmp_path / "tables"

        def write(self, **blocked: str) -> Any:
            return report_of(one.plan, one.store, self.folder, blocked)

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


def test_a_new_number_gets_into_the_tables(tables: Any, one: Any) -> None:
    tables.write()
    one.fill("MAE", COCO, 33.3)
    assert "33.3" in tables.write().main_table
    assert "33.3" in text(tables)


def test_a_lost_result_leaves_a_hole(tables: Any, one: Any) -> None:
    tables.write()
    job = one.jobs("MAE", COCO)[0]
    (one.store.dir(job) / "result.json").unlink()
    assert "0/1" in tables.write().main_table
    one.fail(job, "ValueError: out of luck")
    tables.write()
    assert "out of luck" in text(tables)


def test_why_a_job_is_blocked_gets_into_the_tables(tables: Any, one: Any) -> None:
    job = one.jobs("MAE", COCO)[0]
    (one.store.dir(job) / "result.json").unlink()
    tables.write()
    tables.write(**{job.key: "no detector here"})
    assert "no detector here" in text(tables)


def test_a_table_that_somebody_changed_or_deleted_is_written_again(tables: Any) -> None:
    tables.write()
    right = tables.state()
    changed, deleted = tables.folder / "leaderboard.md", tables.folder / "long.parquet"
    changed.write_bytes(changed.read_bytes().replace(b"MAE", b"EAM"))
    deleted.unlink()
    tables.write()
    assert {name: content for name, (content, _) in tables.state().items()} == {
        name: content for name, (content, _) in right.items()
    }


def test_a_page_of_all_suites_that_is_gone_is_written_again(tables: Any) -> None:
    tables.write()
    page = tables.folder.parent / FRONT_PAGE
    right = page.read_bytes()
    page.unlink()
    tables.write()
    assert page.read_bytes() == right


def test_a_new_picture_is_copied(tables: Any, one: Any) -> None:
    tables.write()
    folder = one.store.dir(one.jobs("MAE", COCO)[0]) / "figures"
    folder.mkdir()
    (folder / "detections.png").write_bytes(b"picture")
    tables.write()
    assert (tables.folder / "figures" / "detections.png").read_bytes() == b"picture"


@pytest.mark.parametrize("damaged", ["{", "[]", "{}", '{"made_from": 1}'])
def test_a_damaged_memory_tells_nothing(one: Any, tmp_path: Path, damaged: str) -> None:
    memory = tmp_path / "memory.json"
    memory.write_text(damaged)
    assert remembered(memory, "1", tmp_path) is None


def test_a_damaged_memory_is_made_anew(tables: Any, one: Any) -> None:
    first = tables.write()
    (memory,) = (path for path in (one.store.root / MEMORY).iterdir() if path.suffix == ".json")
    good = memory.read_text()
    memory.write_text("{")
    assert tables.write() == first
    assert json.loads(memory.read_text()) == json.loads(good)


def test_what_jobs_kept_of_each_image_decides_too(one: Any) -> None:
    job = one.jobs("MAE", COCO)[0]
    before = all_that_decides(one.plan, one.store, {})
    assert all_that_decides(one.plan, one.store, {}) == before
    for name in ("predictions.parquet", "metrics.jsonl"):
        (one.store.dir(job) / name).write_bytes(b"kept")
        now = all_that_decides(one.plan, one.store, {})
        assert now != before
        before = now


def test_results_of_another_tier_decide_too(one: Any, bench: Any) -> None:
    row, task = made_row("MAE", "mae", "published", {}), "coco_vitdet"
    whole = bench((row,), (Column(task),))
    before = all_that_decides(whole.plan, whole.store, {})
    (short,) = other_tiers(whole.plan)
    job = short.jobs[-1]
    whole.finish(job, {metric.name: 20.0 for metric in job.recipe.metrics})
    assert all_that_decides(whole.plan, whole.store, {}) != before


def test_two_folders_of_tables_have_a_memory_each(tables: Any, one: Any, tmp_path: Path) -> None:
    tables.write()
    report_of(one.plan, one.store, tmp_path / "other", {})
    assert len(list((one.store.root / MEMORY).glob("*.json"))) == 2
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
