import dataclasses

import pytest
import torch

from mae_bench.core.compute import Compute, write_compute
from mae_bench.core.demo_data import DemoData, demo_roots
from mae_bench.core.recipe import Context
from mae_bench.kit.encoder import Encoder, read_encoder, write_encoder
from mae_bench.kit.scene_files import make_demo
from mae_bench.kit.spec import EncoderSpec, named_spec
from mae_bench.kit.vit import VisionTransformer, init_weights
from mae_bench.kit.voc_scenes import add_voc

SMALL = DemoData(
    num_train_images=32, num_val_images=16, num_train_scenes=12, num_val_scenes=8, scene_side=64
)


@pytest.fixture(scope="session")
def roots(tmp_path_factory):
    """Return the data roots of a few scenes."""
    root = tmp_path_factory.mktemp("data") / "demo"
    make_demo(root, SMALL)
    return demo_roots(root)


@pytest.fixture(scope="session")
def devkit(tmp_path_factory):
    """Return a VOCdevkit of a few scenes."""
    root = tmp_path_factory.mktemp("voc")
    add_voc(root, SMALL)
    return demo_roots(root)["voc"]


@pytest.fixture
def write(tmp_path):
    """Return a function: seed (and a spec) -> the path of a random encoder."""

    def write_file(seed=0, spec=None):
        spec = spec or named_spec("vit_smoke_patch8", 64, origin="mae")
        torch.manual_seed(seed)
        model = VisionTransformer(spec)
        init_weights(model)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:  # no bias at 0 and no scale at 1 can hide a wrong name
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        path = tmp_path / f"encoder-{seed}-{spec.width}.safetensors"
        write_encoder(path, spec, model.state_dict())
        return path

    return write_file


@pytest.fixture
def encoder_of(write):
    """Return a function: seed (and a spec) -> a random encoder in memory."""

    def read(seed=0, spec=None) -> Encoder:
        return read_encoder(write(seed, spec))

    return read


@pytest.fixture
def wide_spec() -> EncoderSpec:
    """Return an encoder as wide as the detector's pyramid."""
    return EncoderSpec(
        arch="wide", image_size=32, patch_size=8, width=256, depth=4, heads=4, origin="mae"
    )


@pytest.fixture
def without(encoder_of):
    """Return a function: tensor name -> an encoder that lacks it."""

    def drop(name):
        encoder = encoder_of()
        state = {n: t for n, t in encoder.state.items() if n != name}
        return dataclasses.replace(encoder, state=state)

    return drop


@pytest.fixture(scope="module")
def counted(roots):
    """Return a detector's data whose evaluation counts images and no more."""
    from detection_case import counted_data

    return counted_data(roots["coco"])


@pytest.fixture
def job(tmp_path, roots, write):
    """Return a function: name, recipe and settings -> what a detector's detect() takes."""
    from detection_case import TINY

    from transfer.detectron2_adapter.vitdet import model_config

    def make(name, recipe=TINY, **compute):
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        write_compute(out, Compute(**compute))
        return recipe, Context(out, 1, roots["coco"], write()), model_config

    return make
