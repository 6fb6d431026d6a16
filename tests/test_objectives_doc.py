"""What docs/objectives.md says of the recipes is what they do."""

import csv
import re
import runpy
import shlex
import tomllib
from pathlib import Path

import pytest

from mae_bench.commands.options import parse
from mae_bench.core.registry import OBJECTIVES, load
from mae_bench.suite.suite import read_suite

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
FILL = ROOT / "docs" / "readme_table.py"
TEXT = (ROOT / "docs" / "objectives.md").read_text()
SIAMESE = ("moco_v3", "simsiam", "simclr", "byol", "moco_v2")


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def commands():
    """Return the words after `mae-bench pretrain` of each ablation."""
    (block,) = re.findall(r"^```\n(.*?)^```$", TEXT.partition("## Ablations")[2], re.DOTALL | re.M)
    return [shlex.split(line, comments=True)[2:] for line in block.splitlines()]


def test_the_first_table_has_every_objective():
    (header,) = (line for line in TEXT.splitlines() if line.startswith("| | `mae`"))
    assert {cell.strip("`") for cell in cells(header) if cell} == set(OBJECTIVES)


@pytest.mark.parametrize("name", SIAMESE)
def test_the_views_of_the_table_are_the_defaults(name):
    (line,) = re.findall(rf"^\| `{name}` \|.*$", TEXT, re.MULTILINE)
    recipe = load(name)()
    values = (
        (recipe.crop_scale_min,),
        recipe.jitter,
        (recipe.jitter_probability,),
        (recipe.grey_probability,),
        recipe.blur_probability,
        recipe.solarize_probability,
    )
    assert cells(line)[1:] == [", ".join(map(str, value)) for value in values]


def test_the_published_numbers_are_those_of_the_ledger():
    with (ROOT / "mae_bench" / "report" / "published.csv").open() as stream:
        known = {
            (row["backbone"], row["pretrain_epochs"], row["value"])
            for row in csv.DictReader(stream)
            if row["protocol"] == "imagenet-linear"
        }
    for title, backbone in (("ViT-B/16", "vit_b16"), ("ResNet-50", "resnet50")):
        (line,) = re.findall(rf"^\| linear top-1, {title}, published \|.*$", TEXT, re.MULTILINE)
        found = re.findall(r"(\d+\.\d) \((\d+)", line)
        assert len(found) > 2
        assert all((backbone, epochs, value) in known for value, epochs in found)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_an_ablation_is_a_flag_that_changes_the_recipe(words):
    cls = load(words[0])
    assert parse(cls, f"pretrain {cls.name}", words[1:], "") != cls()


def test_the_suite_of_the_page_is_read(tmp_path):
    (text,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    path = tmp_path / "suite.toml"
    path.write_text(text)
    rows = read_suite(path).rows
    assert [row.recipe.stop_gradient for row in rows] == [True, False]
    assert tomllib.loads(text)["name"] == "stop-gradient"


def test_the_readme_has_the_table_of_the_results_as_they_are():
    fill = runpy.run_path(str(FILL))
    assert fill["filled"](README, fill["RESULTS"]) == README


def test_the_readmes_table_has_means_and_what_is_best(tmp_path):
    fill, path = runpy.run_path(str(FILL)), tmp_path / "leaderboard.csv"
    path.write_text(
        "row,title,unit,digits,mean,sd,best\n"
        "MAE,linear top-1,%,1,35.703125,1.2153,False\n"
        "MAE,k-NN,%,1,20.25,,True\n"
        "BYOL,linear top-1,%,1,40.06,0.5,True\n"
        "BYOL,k-NN,%,1,,,False\n"
    )
    text = f"before\n{fill['BEGIN']}old\n{fill['END']}after\n"
    assert fill["filled"](text, path) == (
        f"before\n{fill['BEGIN']}\n"
        "| encoder | linear top-1 (%) | k-NN (%) |\n"
        "| --- | ---: | ---: |\n"
        "| MAE | 35.7 ± 1.2 | **20.2** |\n"
        "| BYOL | **40.1 ± 0.5** |  |\n"
        f"\n{fill['END']}after\n"
    )
    assert fill["filled"](text, tmp_path / "none") == (
        f"before\n{fill['BEGIN']}{fill['END']}after\n"
    )
