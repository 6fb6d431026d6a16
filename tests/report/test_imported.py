import json
from pathlib import Path
from typing import Any

import pytest

from mae_bench.cli import main
from mae_bench.report.imported import FOLDER, imported, keep, remove
from mae_bench.report.kept import report_of

HEAD = "method,backbone,protocol,metric,value,source"
MINE = f"{HEAD}\nSup,vit_demo_patch8,imagenet-linear@image size 64,top1,71.5,our own page\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file with one number of the demo's size and rules."""
    path = tmp_path / "last-year.csv"
    path.write_text(MINE)
    return path


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["import", *words])
    assert isinstance(end.value.code, int)
    return end.value.code


def test_imported_numbers_stand_in_every_later_report(
    filled: Any, file: Path, tmp_path: Path
) -> None:
    def rows() -> dict[str, str]:
        report_of(filled.plan, filled.store, tmp_path / "out", {})
        document = json.loads((tmp_path / "out/leaderboard.json").read_text())
        return {row["row"]: row["kind"] for row in document["rows"]}

    before = rows()
    keep(file, filled.store.root)
    assert rows() == before | {"Sup vit_demo_patch8 (our own page)": "imported"}
    assert "*71.5*" in (tmp_path / "out/leaderboard.md").read_text()
    remove("last-year", filled.store.root)
    assert rows() == before


def test_a_wrong_file_changes_nothing(file: Path, tmp_path: Path) -> None:
    store = tmp_path / "runs"
    keep(file, store)
    file.write_text(MINE.replace("71.5", "7l.5"))
    with pytest.raises(ValueError, match=r"last-year\.csv, line 2, value: must be a number"):
        keep(file, store)
    assert [one.value for one in imported(store).references] == [71.5]
    assert [path.name for path in (store / FOLDER).iterdir()] == ["last-year.csv"]


def test_a_file_of_the_same_name_replaces_the_earlier_one(file: Path, tmp_path: Path) -> None:
    store = tmp_path / "runs"
    keep(file, store)
    file.write_text(MINE.replace("71.5", "72.5"))
    keep(file, store)
    assert [one.value for one in imported(store).references] == [72.5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (MINE.encode("utf-16"), "is not UTF-8 text"),
        (MINE.replace("Sup", "S\x1bup").encode(), "has control characters"),
        (b"PK\x03\x04", "has control characters"),
    ],
)
def test_what_is_no_text_is_refused(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        keep(file, file.parent / "runs")


def test_a_spreadsheets_mark_and_line_ends_are_understood(file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + MINE.replace("\n", "\r\n").encode())
    assert keep(file, tmp_path / "runs")[0].value == 71.5


def test_a_name_that_is_no_plain_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "; rm.csv"
    path.write_text(MINE)
    with pytest.raises(ValueError, match="which its numbers are known by"):
        keep(path, tmp_path / "runs")


def test_a_folder_that_leads_out_of_the_store_is_refused(file: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs" / FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is a symbolic link"):
        keep(file, tmp_path / "runs")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_that_was_damaged_later_is_left_out_and_named(
    filled: Any, file: Path, tmp_path: Path
) -> None:
    keep(file, filled.store.root)
    (filled.store.root / FOLDER / "last-year.csv").write_text("method\n")
    report_of(filled.plan, filled.store, tmp_path / "out", {})
    notes = json.loads((tmp_path / "out/leaderboard.json").read_text())["notes"]
    (note,) = (one for one in notes if one.startswith("Left out: last-year.csv, line 1: no column"))
    assert note.endswith("or remove it with `mae-bench import --remove last-year`.")


def test_the_command_brings_in_lists_and_removes(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ("--store", str(tmp_path / "runs"))
    assert run(*store) == 0
    assert "no imported numbers" in capsys.readouterr().out
    assert run(str(file), *store) == 0
    first = capsys.readouterr().out.splitlines()
    made = f"there was no store {store[1]}, so it was made; --store DIR names another"
    assert first[0].startswith("1 number of ") and first[1:] == [made]
    assert run(str(file), *store) == 0
    assert made not in capsys.readouterr().out
    assert run(*store) == 0
    assert capsys.readouterr().out == (
        "last-year: Sup vit_demo_patch8: imagenet-linear@image size 64 top1 71.5 % (our own page)\n"
    )
    assert run("--remove", "last-yaer", *store) == 2
    assert "did you mean 'last-year'?" in capsys.readouterr().err
    assert run("--remove", "last-year", *store) == 0
    assert imported(tmp_path / "runs").references == ()


def test_a_percentage_that_may_be_a_fraction_is_asked_about(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ("--store", str(tmp_path / "runs"))
    assert run(str(file), *store) == 0
    assert capsys.readouterr().err == ""
    file.write_text(MINE.replace("71.5", "0.715"))
    assert run(str(file), *store) == 0
    assert "is taken as 0.715 %; if it is a fraction, write 71.5" in capsys.readouterr().err


def test_the_command_says_what_is_wrong_and_ends_with_2(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(MINE.replace("vit_demo_patch8", "vit_demo"))
    assert run(str(file), "--store", str(tmp_path / "runs")) == 2
    assert "last-year.csv, line 2, backbone: unknown backbone 'vit_demo'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert run(str(tmp_path / "none.csv"), "--store", str(tmp_path / "runs")) == 2
    assert run(str(file), "--remove", "x", "--store", str(tmp_path / "runs")) == 2
