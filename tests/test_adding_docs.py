"""What docs/add-an-objective.md and docs/add-a-task.md show is done here, as they stand."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("add-an-objective.md", "add-a-task.md")
ADDED = ("rotation", "barlow_twins", "imagenet_ridge")


def read(page):
    return (ROOT / "docs" / page).read_text()


def blocks(page):
    """Return language, text before and content of each block of the page."""
    parts = re.split(r"^```(\w*)\n(.*?)^```$", read(page), flags=re.DOTALL | re.MULTILINE)
    return list(zip(parts[1::3], parts[::3], parts[2::3], strict=False))


def files(page):
    """Return path and content of each file that the page has the reader write."""
    shown = [
        (re.findall(r"\*\*`([\w/.]+)`\*\*", before)[-1], content)
        for language, before, content in blocks(page)
        if language in ("python", "toml")
    ]
    assert len(dict(shown)) == len(shown)
    return dict(shown)


def diffs(page):
    """Return the changes that the page has the reader make."""
    return [content for language, _, content in blocks(page) if language == "diff"]


def commands(page):
    """Return the last block of commands of the page, as lists of words after the program's name."""
    (*_, last) = (content for language, _, content in blocks(page) if not language)
    return [shlex.split(line)[1:] for line in last.splitlines()]


def patched(text, diff):
    """Return the text with the lines that start with + put behind the line before them."""
    before, *added = diff.splitlines()
    assert before.startswith(" ")
    assert all(line.startswith("+") for line in added)
    (place,) = (n for n, line in enumerate(text.splitlines()) if line == before[1:])
    lines = text.splitlines()
    lines[place + 1 : place + 1] = [line[1:] for line in added]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """Return a copy of the project to which all was added that the pages say."""
    root = tmp_path_factory.mktemp("clone")
    for name in ("mae_bench", "pretrain", "transfer", "tests"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    registry = root / "mae_bench" / "core" / "registry.py"
    for page in PAGES:
        for path, text in files(page).items():
            assert not (root / path).exists()
            (root / path).write_text(text)
        for diff in diffs(page):
            registry.write_text(patched(registry.read_text(), diff))
    return root


@pytest.fixture(scope="module")
def call(clone, tmp_path_factory):
    """Return a function that runs Python on the copy."""
    cache = str(tmp_path_factory.mktemp("cache"))
    paths = {"PYTHONPATH": str(clone), "XDG_CACHE_HOME": cache, "OMP_NUM_THREADS": "1"}

    def run(*words):
        answer = subprocess.run(
            [sys.executable, *map(str, words)],
            cwd=clone,
            env=os.environ | paths,
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    return run


@pytest.fixture(scope="module")
def data(clone, call):
    """Return the ImageNet folder of the images that the pages have the reader make."""
    made, *others = [words for page in PAGES for words in commands(page) if words[0] == "data"]
    assert all(words == made for words in others)
    call("-m", "mae_bench", *made)
    return clone / "demo-data" / "imagenet"


@pytest.fixture(scope="module")
def tables(clone, call, data):
    """Return the long table of each page's suite, made by the page's own command."""
    for page in PAGES:
        (words,) = (words for words in commands(page) if words[0] != "data")
        call("-m", "mae_bench", *words)
    found = (clone / "results").glob("*/long.csv")
    return {path.parent.name: pd.read_csv(path) for path in found}


def test_each_page_adds_its_recipes_by_a_line_each():
    for page, names in zip(PAGES, (ADDED[:2], ADDED[2:]), strict=True):
        lines = [line for diff in diffs(page) for line in diff.splitlines() if line[0] == "+"]
        assert [re.search(r'"(\w+)":', line).group(1) for line in lines] == list(names)


def test_what_is_added_keeps_the_contract_and_passes_its_own_tests(clone, call):
    own = [path for page in PAGES for path in files(page) if path.startswith("tests/")]
    contract = ROOT / "tests" / "test_contract.py"
    whole = 1 + len(ADDED) * contract.read_text().count('"name", NAMES')
    words = [*own, "tests/test_contract.py", "-k", " or ".join([*ADDED, "torch_and_toolboxes"])]
    words += ["-q", "-o", "addopts=", "-p", "no:cacheprovider", f"--basetemp={clone / 'temporary'}"]
    passed = sum((clone / path).read_text().count("\ndef test_") for path in own) + whole
    assert (len(own), f"{passed} passed" in call("-m", "pytest", *words)) == (3, True)


def test_the_code_of_the_pages_is_in_the_projects_style(clone, call):
    call("-m", "ruff", "check", ".")
    call("-m", "ruff", "format", "--check", ".")


def test_the_objectives_reach_the_table_by_the_pages_commands(tables):
    rows = tables["try"]
    assert rows.groupby("row", sort=False)["value"].count().to_dict() == {
        "Rotation": 1,
        "Barlow Twins": 1,
    }
    assert rows["value"].between(0, 100).all()


def test_the_task_is_a_column_with_an_interval(clone, tables):
    assert len(tables["ridge"]) == 1
    (line,) = pd.read_csv(clone / "results" / "ridge" / "leaderboard.csv").itertuples()
    assert (line.task, line.title, line.basis) == ("imagenet_ridge", "ridge top-1", "images")
    assert line.low <= line.mean <= line.high


def test_killed_the_first_objective_goes_on_to_the_bits_of_the_suites_run(
    clone, call, data, tables, tmp_path
):
    jobs = {path.parent: json.loads(path.read_text()) for path in clone.glob("runs/*/job.json")}
    ((whole, job),) = (
        (out, job) for out, job in jobs.items() if job["identity"]["recipe"] == "rotation"
    )
    drive = clone / "tests" / "pretrain" / "drive.py"
    call(drive, tmp_path, data, json.dumps({"recipe": "rotation", **job["fields"]}), 1)
    found, wanted = (out / "encoder.safetensors" for out in (tmp_path, whole))
    assert found.read_bytes() == wanted.read_bytes()
