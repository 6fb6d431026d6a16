import sys
from pathlib import Path

import pytest

from mae_bench.core.site import read_site


def write(folder, text):
    path = folder / "site.toml"
    path.write_text(text)
    return path


def test_an_empty_site_has_a_default_for_everything(tmp_path):
    site = read_site(write(tmp_path, ""))
    assert site.store == tmp_path / "runs"
    assert site.data == {}
    assert site.interpreter("mmseg") == Path(sys.executable)


def test_relative_paths_are_relative_to_the_file(tmp_path):
    text = "store = 'kept'\n[data]\ncoco = 'sets/coco'\nimagenet = '/sets/imagenet'\n"
    site = read_site(write(tmp_path, text + "[python]\nmmseg = '../seg/bin/python'\n"))
    assert site.store == tmp_path / "kept"
    assert site.data == {"coco": tmp_path / "sets/coco", "imagenet": Path("/sets/imagenet")}
    assert site.interpreter("mmseg") == tmp_path / "../seg/bin/python"
    assert site.interpreter("detectron2") == Path(sys.executable)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stroe = 'x'", "unknown key 'stroe'; did you mean 'store'?"),
        ("[data]\ncocoo = 'x'", "unknown key of [data] 'cocoo'; did you mean 'coco'?"),
        ("[python]\ndetectron = 'x'", "did you mean 'detectron2'?"),
        ("store = 3", "store must be a string, got 3"),
        ("data = 'x'", "data must be a table [data], got 'x'"),
        ("[data]\ncoco = 1", "data.coco must be a string, got 1"),
        ("store = ", "site.toml is not TOML"),
    ],
)
def test_a_mistake_is_named_with_the_file(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=r"site\.toml") as error:
        read_site(path)
    assert message in str(error.value)
