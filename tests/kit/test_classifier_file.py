import dataclasses
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mae_bench.kit.classifier import Classifier
from mae_bench.kit.classifier_file import (
    HEADER,
    ClassifierFile,
    classifier_shapes,
    read_classifier,
    write_classifier,
)
from mae_bench.kit.encoder import write_encoder
from mae_bench.kit.spec import named_spec
from mae_bench.kit.vit import VisionTransformer

SPEC = named_spec("vit_smoke_patch8", 64, origin="mae")
CLASSES = ("wren", "auk", "owl")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Classifier(SPEC, len(CLASSES), "avg").eval()


@pytest.fixture
def content(model):
    return ClassifierFile(SPEC, model.state_dict(), CLASSES, ("resized",), ("epochs 2",))


def test_a_classifier_comes_back_as_it_was(tmp_path, model, content):
    path = tmp_path / "classifier.safetensors"
    write_classifier(path, content)
    read = read_classifier(path)
    assert (read.spec, read.classes) == (SPEC, CLASSES)
    assert (read.history, read.deviations) == (("resized",), ("epochs 2",))
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(read.model()(images), model(images))
    assert [path.name for path in tmp_path.iterdir()] == [path.name]  # no part is left
    assert len(read.sha256) == 64


def test_the_shapes_are_those_of_the_model(model):
    found = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert classifier_shapes(SPEC, len(CLASSES)) == found


def without(content, name):
    state = {n: t for n, t in content.state.items() if n != name}
    return dataclasses.replace(content, state=state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: without(c, "fc_norm.bias"), r"missing fc_norm\.bias"),
        (lambda c: without(c, "blocks.1.mlp.fc1.bias"), r"missing blocks\.1\.mlp\.fc1\.bias"),
        (
            lambda c: dataclasses.replace(c, state={**c.state, "norm.bias": torch.zeros(32)}),
            r"unexpected norm\.bias",
        ),
        (
            lambda c: dataclasses.replace(c, classes=(*CLASSES, "emu")),
            r"head\.weight is \[3, 32\], expected \[4, 32\]",
        ),
        (lambda c: dataclasses.replace(c, classes=("owl", "owl", "auk")), "each class once"),
    ],
)
def test_what_does_not_fit_is_named_on_writing_and_on_reading(tmp_path, content, change, message):
    wrong, path = change(content), tmp_path / "classifier.safetensors"
    with pytest.raises(ValueError, match=message):
        write_classifier(path, wrong)
    assert not path.exists()
    about = {"spec": dataclasses.asdict(SPEC), "classes": wrong.classes}
    header = {HEADER: json.dumps({**about, "history": [], "deviations": []})}
    save_file({n: t.contiguous() for n, t in wrong.state.items()}, path, header)
    with pytest.raises(ValueError, match=message):
        read_classifier(path)


def test_other_files_are_named_with_the_next_step(tmp_path, content):
    path = tmp_path / "classifier.safetensors"
    with pytest.raises(ValueError, match=r"no classifier file .*run imagenet_finetune first"):
        read_classifier(path)
    write_encoder(path, SPEC, VisionTransformer(SPEC).state_dict())
    with pytest.raises(ValueError, match="is an encoder, expected the classifier"):
        read_classifier(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="is no file of mae-bench"):
        read_classifier(path)
    write_classifier(path, content)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        read_classifier(path)
    save_file(dict(content.state), path, {HEADER: json.dumps({"spec": {"arch": "x"}})})
    with pytest.raises(ValueError, match="has a header this version cannot read"):
        read_classifier(path)


def test_the_header_names_the_classes_in_the_order_of_the_logits(tmp_path, content):
    path = tmp_path / "classifier.safetensors"
    write_classifier(path, content)
    with safe_open(path, framework="pt") as stream:
        assert json.loads(stream.metadata()[HEADER])["classes"] == list(CLASSES)
