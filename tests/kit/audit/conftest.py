import json
import shutil

import pytest

from mae_bench.core.demo_data import DemoData, demo_roots
from mae_bench.kit.audit.audit import Wanted, audit
from mae_bench.kit.scene_files import make_demo
from mae_bench.kit.voc_scenes import add_voc

SIZES = DemoData(
    num_train_images=8, num_val_images=8, num_train_scenes=24, num_val_scenes=8, scene_side=48
)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("audit") / "demo"
    make_demo(root, SIZES)
    add_voc(root, SIZES)
    return demo_roots(root)


@pytest.fixture
def copy_of(made, tmp_path):
    """Return a function: data set -> the root of a copy that may be spoilt."""
    return lambda name: shutil.copytree(made[name], tmp_path / name)


@pytest.fixture
def problems_of():
    """Return a function: data set, root -> kind -> its problem."""

    def find(dataset, root, **more):
        found = audit(Wanted(dataset, root, **more), lambda done, total: None)
        return {problem.kind: problem for problem in found}

    return find


@pytest.fixture
def edit_json():
    """Return a function: file, change -> the file's content is changed in place."""

    def edit(path, change):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit
