import ast
import dataclasses
import inspect
import itertools
import json
import re
import subprocess
import sys
import typing

import pytest

from mae_bench.core.recipe import Metric, build, fields_of
from mae_bench.core.registry import OBJECTIVES, TASKS, load
from mae_bench.core.site import DATASETS
from mae_bench.kit.archs import ARCHS
from mae_bench.suite.toolboxes import NEEDS

NAMES = sorted(OBJECTIVES | TASKS)
ORIGINS = (*OBJECTIVES, "foreign")


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_a_frozen_flat_dataclass_under_its_own_name(name):
    cls = load(name)
    assert cls.name == name
    assert cls.version >= 1
    assert cls.dataset in (*DATASETS, "")
    assert cls.after in (*TASKS, "")
    assert cls.resources.framework in NEEDS
    assert all(isinstance(metric, Metric) for metric in cls.metrics)
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind = hints[field.name]
        parts = set(typing.get_args(kind)) - {Ellipsis} or {kind}
        if typing.get_origin(kind) is typing.Literal:
            parts = set(map(type, parts))
        assert parts <= {str, int, float, bool}, field.name
    with pytest.raises(dataclasses.FrozenInstanceError):
        cls().name = "other"


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_survives_json(name):
    for recipe in (load(name)(), load(name).demo()):
        assert build(load(name), json.loads(json.dumps(fields_of(recipe)))) == recipe


@pytest.mark.parametrize("name", NAMES)
def test_every_size_and_origin_has_published_values(name):
    recipes = [load(name).published(arch, origin) for arch in ARCHS for origin in ORIGINS]
    assert all(type(recipe) is load(name) for recipe in recipes)


def documented(cls):
    """Return the names of the class's own fields that have a docstring under them."""
    (body,) = (node.body for node in ast.parse(inspect.cleandoc(inspect.getsource(cls))).body)
    return {
        field.target.id
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_field_says_what_it_means(name):
    bases = [base for base in load(name).__mro__ if dataclasses.is_dataclass(base)]
    explained = set().union(*map(documented, bases))
    assert {field.name for field in dataclasses.fields(load(name))} <= explained


@pytest.mark.parametrize("name", NAMES)
def test_a_number_out_of_range_is_refused_with_field_and_value(name):
    cls = load(name)
    numbers = [n for n, kind in typing.get_type_hints(cls).items() if kind in (int, float)]
    fields = [f.name for f in dataclasses.fields(cls) if f.name in numbers]
    if not fields:
        return  # nothing but names, such as which sets are measured
    field = "image_size" if "image_size" in fields else "lr"
    with pytest.raises(ValueError, match=rf"{name}\.{field} must be .*got -1"):
        dataclasses.replace(cls(), **{field: -1})


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_field_is_refused_with_the_nearest_name(name):
    field = dataclasses.fields(load(name))[0].name
    with pytest.raises(ValueError, match=f"did you mean {field!r}"):
        build(load(name), {field + "s": 1})


def test_recipes_and_command_line_load_without_torch_and_toolboxes():
    code = (
        "import sys\n"
        "from mae_bench.core.registry import OBJECTIVES, TASKS, load\n"
        "import mae_bench.cli, mae_bench.commands.run, mae_bench.commands.single\n"
        "import mae_bench.doctor\n"
        "[load(name).demo() for name in OBJECTIVES | TASKS]\n"
        "print([m for m in ('torch', 'pandas', 'timm', 'detectron2', 'mmseg') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("name", NAMES)
def test_what_a_recipe_tells_the_tables_is_whole(name):
    cls = load(name)
    assert set(getattr(cls, "apart", ())) <= {field.name for field in dataclasses.fields(cls)}
    assert set(getattr(cls, "stated", ())) <= {field.name for field in dataclasses.fields(cls)}
    origins = getattr(cls, "never_without", ())
    assert set(origins) <= set(OBJECTIVES)
    assert bool(origins) == hasattr(cls, "caution")
    places = [(metric.protocol, metric.name) for metric in cls.metrics if metric.protocol]
    assert len(set(places)) == len(places)
    for recipe in (cls(), cls.demo(), cls.published("vit_base_patch16", "mae")):
        schedule = getattr(recipe, "published_schedule", "")
        assert re.fullmatch(r"(\d+ep)?", schedule)
