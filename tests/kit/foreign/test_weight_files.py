import argparse
import os
import pickle

import numpy as np
import pytest
import torch
from foreign_case import saved, timm_vit

from mae_bench.kit.foreign.importing import import_encoder
from mae_bench.kit.foreign.weight_files import read_weights


class Payload:
    """Unpickles by making a file with a shell command."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


class Evaluated(Payload):
    def __reduce__(self):
        return eval, (f"open({str(self.mark)!r}, 'w')",)


@pytest.mark.parametrize("payload", [Payload, Evaluated])
@pytest.mark.parametrize("place", ["model", "args"])
@pytest.mark.parametrize("suffix", [".pth", ".bin", ".ckpt"])
def test_a_payload_is_refused_and_does_not_run(tmp_path, payload, place, suffix):
    mark = tmp_path / "ran"
    content = {"model": timm_vit().state_dict(), "args": argparse.Namespace(lr=1.0)}
    if place == "args":
        content["args"].hook = payload(mark)
    else:
        content["model"]["extra"] = payload(mark)
    path = tmp_path / f"evil{suffix}"
    torch.save(content, path)
    with pytest.raises(
        ValueError, match=r"cannot be read as plain weights \(it holds [\w.]+, which"
    ):
        import_encoder(path)
    assert not mark.exists()
    torch.load(path, weights_only=False)  # the payload is a real one: read carelessly, it runs
    assert mark.exists()


def test_a_bare_pickle_with_a_payload_is_refused_and_does_not_run(tmp_path):
    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps({"model": Payload(tmp_path / "ran")}))
    with pytest.raises(ValueError, match=r"evil\.pt cannot be read as plain weights"):
        import_encoder(path)
    assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_model_is_refused_with_the_next_step(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(timm_vit(), path)
    with pytest.raises(ValueError, match=r"it holds timm\.models\S+ .* save its state dict alone"):
        import_encoder(path)


def test_what_training_scripts_keep_beside_weights_is_read(tmp_path):
    content = {
        "model": {"a": torch.ones(2)},
        "best": np.float64(0.5),
        "count": np.int64(3),
        "small": np.float32(0.5),
        "kind": np.dtype("float32"),
        "args": argparse.Namespace(lr=np.float64(1e-3), drop=None),
        "optimizer": {"state": {0: {"step": torch.ones(1)}}},
        "nested": [{"b": torch.zeros(1)}],
    }
    path = saved(tmp_path / "c.pth", content).path
    file = read_weights(path)
    assert set(file.tensors) == {"model.a", "nested.0.b"}
    assert dict(file.left)["optimizer"] == "the optimiser's state"


def test_a_tensor_in_a_dictionary_that_holds_itself_is_no_endless_loop(tmp_path):
    content = {"model": {"a": torch.ones(2)}}
    content["model"]["again"] = content
    path = saved(tmp_path / "c.pth", content).path
    with pytest.raises(ValueError, match="nests more than 8 levels"):
        read_weights(path)


@pytest.mark.parametrize("name", ["m.pth", "m.bin", "m.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file_is_named_and_refused(tmp_path, name, share):
    path = saved(tmp_path / name, timm_vit().state_dict()).path
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    said = r"(cannot be read as plain weights|is not a whole).*copy it again"
    with pytest.raises(ValueError, match=rf"{name} {said}"):
        import_encoder(path)


@pytest.mark.parametrize("name", ["m.pth", "m.safetensors"])
def test_other_bytes_are_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"<html>404: not found</html>" * 100)
    with pytest.raises(ValueError, match=rf"{name} (cannot be read|is not a whole)"):
        import_encoder(path)


def test_a_folder_is_refused_with_the_next_step(tmp_path):
    with pytest.raises(ValueError, match=r"is a folder; pass the file of weights in it"):
        import_encoder(tmp_path)


def test_a_loop_of_links_is_refused(tmp_path):
    (tmp_path / "a.pth").symlink_to(tmp_path / "b.pth")
    (tmp_path / "b.pth").symlink_to(tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth is a symbolic link in a loop"):
        import_encoder(tmp_path / "a.pth")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth is no regular file"):
        import_encoder(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "name", ["model-00001-of-00003.safetensors", "pytorch_model-00002-of-00002.bin"]
)
def test_a_shard_is_refused_with_the_next_step(tmp_path, name):
    path = saved(tmp_path / name, timm_vit().state_dict()).path
    with pytest.raises(
        ValueError, match=r"one part of a checkpoint in several shards; .* one file"
    ):
        import_encoder(path)


def test_the_list_of_shards_is_refused(tmp_path):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match="one part of a checkpoint in several shards"):
        import_encoder(path)


def test_another_kind_of_file_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"has the suffix '\.onnx'; expected \.safetensors, \.pth"):
        import_encoder(path)


def test_a_file_without_tensors_is_refused(tmp_path):
    path = saved(tmp_path / "m.pth", {"epoch": 3}).path
    with pytest.raises(ValueError, match="holds no tensors but a dict; expected a state dict"):
        import_encoder(path)
