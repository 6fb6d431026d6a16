"""Nothing that a suite file, a label, a name or a key says leads out of the store or the tables."""

import json
import subprocess

import pytest

from mae_bench.core.names import check_name
from mae_bench.suite.encoders import find_encoder
from mae_bench.suite.store import RESULT

HOSTILE = (
    "../../escape",
    "/etc/escape",
    "a/../../escape",
    "$(touch escape)",
    "`touch escape`; touch escape | touch escape",
    "line\nbreak\r\x1b[31m",
    "<script>alert('escape')</script>",
    "--store",
    "x" * 5000,
)


def all_paths(root):
    return set(root.rglob("*"))


@pytest.mark.parametrize(
    "name", [*HOSTILE, "..", ".", "", ".hidden", "-flag", "a:b", "end ", "a\n"]
)
def test_a_hostile_name_names_no_file(name):
    with pytest.raises(ValueError, match="an encoder's name must begin with"):
        check_name("an encoder's name", name)


@pytest.mark.parametrize("name", ["mae-base", "vit_large.v2", "MAE 800+x@2=3"])
def test_a_plain_name_is_taken(name):
    check_name("an encoder's name", name)


def test_a_suite_is_not_called_as_no_folder_may_be(call, write_suite, tmp_path):
    path = write_suite()
    text, before = path.read_text(), all_paths(tmp_path)
    for name in HOSTILE:
        path.write_text(text.replace('"trial"', json.dumps(name)))
        answer = call("run", "--suite", path, "--results", tmp_path / "results")
        assert answer.code == 2, name
        assert "suite.name must match" in answer.err
    assert all_paths(tmp_path) == before


def test_hostile_labels_stay_labels(call, write_suite, tmp_path):
    path = write_suite({label: {} for label in HOSTILE})
    above = all_paths(tmp_path.parent) - all_paths(tmp_path)
    assert call("run", "--suite", path, "--results", tmp_path / "results").code == 0
    assert all_paths(tmp_path.parent) - all_paths(tmp_path) == above
    made = {p.relative_to(tmp_path).parts[0] for p in all_paths(tmp_path)}
    assert made == {"runs", "results", "trial.toml"}
    assert not [p for p in all_paths(tmp_path) if "escape" in p.name]
    folder = tmp_path / "results" / "trial"
    for name in ("leaderboard.md", "index.html"):
        assert "<script>alert" not in (folder / name).read_text()
    for words in (["status", "--suite", path], ["missing", "--suite", path]):
        answer = call(*words)
        assert answer.code == 0
        assert all(c.isprintable() or c == "\n" for c in answer.out)


def test_a_missing_cell_of_a_hostile_label_is_filled_by_its_command(call, write_suite, tmp_path):
    path = write_suite({label: {"steps": n + 1} for n, label in enumerate(HOSTILE)})
    out = call("missing", "--suite", path).out
    assert all(c.isprintable() or c == "\n" for c in out)
    commands = [line.strip() for line in out.splitlines() if line.startswith("    mae-bench ")]
    assert len(commands) == len(HOSTILE)
    for text, label in zip(commands, HOSTILE, strict=True):
        printed = subprocess.run(
            ["bash", "-c", f"printf '%s\\0' {text}"], capture_output=True, check=True
        )
        words = printed.stdout.decode().split("\0")[1:-3]  # without the program and --store DIR
        answer = call(*words, "--dry-run")
        assert answer.code == 0, (label, answer.err)
        assert "2 jobs" in answer.out


def test_no_word_for_a_job_leads_out_of_the_store(three, call, tmp_path):
    (tmp_path / "x").mkdir()
    before = all_paths(tmp_path)
    for command in ("show", "logs", "explain", "cancel", "retry"):
        for word in ("..", "../x", "/nowhere/x", "$(touch escape)", "a\nb", "x" * 5000):
            assert call(command, word).code == 2, (command, word)
    assert all_paths(tmp_path) == before


@pytest.mark.parametrize("command", ["explain", "cancel", "retry"])
def test_a_job_is_steered_only_in_its_own_store(three, call, tmp_path, command):
    key = three["Bad", "counting"]
    (tmp_path / "runs" / key).rename(tmp_path / key)
    before = all_paths(tmp_path)
    answer = call(command, tmp_path / key)
    assert answer.code == 2
    assert "is not in the store" in answer.err
    assert all_paths(tmp_path) == before


def test_a_job_file_cannot_name_code_or_another_key(three, call, tmp_path):
    folder = tmp_path / "runs" / three["Good", "reading"]
    content = json.loads((folder / "job.json").read_text())
    (folder / "job.json").write_text(json.dumps(content | {"target": "antigravity:geohash"}))
    assert call("show", folder.name).code == 0  # the recipe is known by name
    (folder / "job.json").write_text(json.dumps(content | {"key": "../../escape"}))
    answer = call("cancel", folder)
    assert answer.code == 2
    assert "is a copy" in answer.err


def test_a_job_folder_that_is_a_link_is_not_written_through(three, call, write_suite, tmp_path):
    path = write_suite({"Fresh": {"steps": 9}}, name="fresh")
    told = json.loads(call("status", "--suite", path, "--json").out)["jobs"]
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "runs" / told[0]["key"]).symlink_to(outside)
    answer = call("run", "--suite", path, "--results", tmp_path / "results")
    assert answer.code == 3
    assert "is a symbolic link to" in answer.err
    assert call("cancel", "--suite", path).code == 2
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("linked", ["trial", "trial/figures"])
def test_tables_are_not_written_through_a_link(three, call, tmp_path, linked):
    outside, link = tmp_path / "outside", tmp_path / "results" / linked
    outside.mkdir()
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    for command in ("run", "report"):
        words = ("--suite", tmp_path / "trial.toml", "--results", tmp_path / "results")
        answer = call(command, *words)
        assert answer.code == 2
        assert "is a symbolic link to" in answer.err
    assert list(outside.iterdir()) == []


def test_a_linked_store_or_results_folder_as_a_whole_is_the_users_own_choice(three, call, tmp_path):
    (tmp_path / "runs").rename(tmp_path / "disk")
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "elsewhere")
    words = ("--suite", tmp_path / "trial.toml", "--results", tmp_path / "results")
    assert call("report", *words).code == 0
    assert (tmp_path / "elsewhere" / "trial" / "leaderboard.md").exists()
    assert call("explain", tmp_path / "runs" / three["Good", "reading"]).code == 0


def test_a_picture_that_is_a_link_is_not_copied_into_the_tables(three, call, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    figures = tmp_path / "runs" / three["Good", "reading"] / "figures"
    figures.mkdir(exist_ok=True)
    (figures / "detections.png").symlink_to(secret)
    words = ("--suite", tmp_path / "trial.toml", "--results", tmp_path / "results")
    assert call("report", *words).code == 0
    assert not list((tmp_path / "results").rglob("detections.png"))


def test_an_encoder_that_is_named_or_added_has_no_hostile_file(call, tmp_path):
    (tmp_path / "some.pth").write_bytes(b"no weights")
    before = all_paths(tmp_path)
    for name in HOSTILE:
        answer = call("encoders", "add", tmp_path / "some.pth", f"--name={name}")
        assert answer.code == 2, name
        assert "an encoder's name" in answer.err
        with pytest.raises(ValueError, match="no encoder"):
            find_encoder(name, tmp_path / "runs")
    assert all_paths(tmp_path) == before


def test_results_are_told_from_copies_by_their_folder(three, call, tmp_path):
    """A job's result in the folder of another key is none of its own."""
    good, other = (tmp_path / "runs" / three[row, "reading"] for row in ("Good", "Other"))
    (other / RESULT).write_text((good / RESULT).read_text())
    told = json.loads(call("status", "--suite", tmp_path / "trial.toml", "--json").out)["jobs"]
    (one,) = [one for one in told if one["key"] == other.name]
    assert one["state"] == "interrupted"
    assert f"it is of job {good.name}, not of {other.name}" in one["reason"]
