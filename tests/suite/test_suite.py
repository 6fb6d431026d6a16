import json

import pytest

from mae_bench.suite.suite import read_suite

GOOD = """
name = "mine"
seeds = [0, 1]
[encoders."MAE, short"]
recipe = "mae"
arch = "vit_base_patch16"
epochs = 300
[encoders.Random]
recipe = "random_init"
arch = "vit_base_patch16"
seeds = "each"
[[tasks]]
recipe = "imagenet_finetune"
[[tasks]]
recipe = "imagenet_linear"
epochs = 50
seeds = [3]
"""


@pytest.fixture
def read(tmp_path):
    def read_text(text):
        path = tmp_path / "suite.toml"
        path.write_text(text)
        return read_suite(path)

    return read_text


def test_a_suite_file_gives_rows_columns_and_seeds(read):
    suite = read(GOOD)
    assert (suite.name, suite.seeds) == ("mine", (0, 1))
    mae, random = suite.rows
    assert (mae.label, mae.recipe.epochs, mae.recipe.mask_ratio) == ("MAE, short", 300, 0.75)
    assert (mae.arch, mae.origin, random.seeds) == ("vit_base_patch16", "mae", "each")
    linear = suite.columns[1]
    assert linear.seeds == (3,)
    assert (linear.recipe_for(mae).epochs, linear.recipe_for(mae).batch_size) == (50, 16384)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('recipe = "mae"', 'recipe = "mea"', r"objective .*'mea'; did you mean 'mae'\?"),
        ("epochs = 300", "epoch = 300", r"field of mae 'epoch'; did you mean 'epochs'\?"),
        ("epochs = 300", 'epochs = "many"', "mae.epochs must be int, got 'many'"),
        ("epochs = 300", "mask_ratio = 1.2", r"mae.mask_ratio must be in \(0, 1\), got 1.2"),
        ("seeds = [0, 1]", "seed = [0, 1]", r"unknown key 'seed'; did you mean 'seeds'\?"),
        ("seeds = [0, 1]", "seeds = [-1]", r"seeds must be a list of whole numbers >= 0"),
        ('"imagenet_linear"', '"imagenet_liner"', r"did you mean 'imagenet_linear'\?"),
        ('name = "mine"', 'name = "../mine"', r"suite.name must match .* got '../mine'"),
        ('seeds = "each"', 'seeds = "all"', "must be 'first' or 'each', got 'all'"),
        ('name = "mine"', "name = ", "is not TOML"),
        ("patch16", "patch17", r"unknown arch 'vit_base_patch17'; did you mean"),
    ],
)
def test_a_mistake_is_named_with_the_file_and_what_is_allowed(read, old, new, message):
    with pytest.raises(ValueError, match=message) as error:
        read(GOOD.replace(old, new))
    assert "suite.toml" in str(error.value)


def test_a_checkpoint_says_its_own_size(tmp_path, read):
    spec = {"arch": "vit_tiny_patch16", "origin": "supervised"}
    header = json.dumps({"__metadata__": {"mae_bench.encoder": json.dumps(spec)}}).encode()
    file = tmp_path / "mine.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    text = 'name = "a"\n[encoders.Mine]\ncheckpoint = "mine.safetensors"\n[[tasks]]\n'
    row = read(text + 'recipe = "imagenet_linear"').rows[0]
    assert (row.arch, row.origin, row.checkpoint) == ("vit_tiny_patch16", "supervised", file)


def test_a_checkpoint_that_says_another_size_is_refused(tmp_path, read):
    spec = {"arch": "vit_tiny_patch16", "origin": "supervised"}
    header = json.dumps({"__metadata__": {"mae_bench.encoder": json.dumps(spec)}}).encode()
    (tmp_path / "mine.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    text = 'name = "a"\n[encoders.Mine]\ncheckpoint = "mine.safetensors"\n'
    text += 'arch = "vit_base_patch16"\n[[tasks]]\nrecipe = "imagenet_linear"'
    with pytest.raises(ValueError, match=r"is vit_base_patch16, mine.safetensors holds vit_tiny"):
        read(text)


def test_a_checkpoint_that_is_not_there_is_named(read):
    text = 'name = "a"\n[encoders.Mine]\ncheckpoint = "mine.pth"\n[[tasks]]\n'
    with pytest.raises(ValueError, match=r"no encoder mine\.pth: there is no such file"):
        read(text + 'recipe = "imagenet_linear"')


def test_a_missing_suite_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="no suite file"):
        read_suite(tmp_path / "none.toml")
