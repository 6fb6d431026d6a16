import dataclasses
import json
import shutil

import pytest
import torch

from mae_bench.core.recipe import Context
from mae_bench.kit.fit import at_image_size
from mae_bench.kit.machine import start
from mae_bench.kit.pos_embed import resize_pos_embed
from mae_bench.kit.samples import read_samples
from transfer.classification import FineTuning, classifier, finetune, inputs
from transfer.imagenet_finetune import ImagenetFinetune
from transfer.imagenet_linear import ImagenetLinear
from transfer.linear_probe import LinearProbe, linear_probe

FINETUNE = dataclasses.replace(ImagenetFinetune.demo(), epochs=2, warmup_epochs=1, batch_size=8)
LINEAR = dataclasses.replace(ImagenetLinear.demo(), epochs=2, warmup_epochs=1, batch_size=8)


@pytest.mark.parametrize("pool", ["cls", "avg"])
def test_features_that_reach_the_head_change_with_the_encoder(encoder_of, pool):
    images = torch.randn(2, 3, 64, 64)
    features = []
    for seed in (0, 1):
        encoder = encoder_of(seed)
        model = classifier(encoder, 8, pool).eval()
        features.append(model.features(images))
        for name, tensor in encoder.state.items():
            if pool == "cls" or not name.startswith("norm."):
                assert torch.equal(model.state_dict()[name], tensor), name
    assert (features[0] - features[1]).abs().mean() > 0.1


def test_positions_are_resized_to_the_images(encoder_of):
    encoder = encoder_of()
    model = classifier(at_image_size(encoder, 96), 8, "cls")
    expected = resize_pos_embed(encoder.state["pos_embed"], (12, 12))
    assert torch.equal(model.pos_embed, expected)


def test_a_missing_tensor_is_refused_by_name(without):
    with pytest.raises(ValueError, match=r"missing blocks\.0\.norm1\.bias"):
        classifier(without("blocks.0.norm1.bias"), 8, "avg")


def test_the_probe_trains_its_linear_layer_alone(encoder_of):
    encoder = encoder_of()
    probe = LinearProbe(encoder, 8)
    trainable = [name for name, p in probe.named_parameters() if p.requires_grad]
    assert trainable == ["layers.0.weight", "layers.0.bias"]
    norm = probe.norm
    assert (norm.affine, norm.eps) == (False, 1e-6)
    images = torch.randint(0, 255, (8, 3, 64, 64), dtype=torch.uint8)
    probe(images, torch.arange(8)).backward()
    assert all(p.grad is None for n, p in probe.named_parameters() if n not in trainable)


def test_fine_tuning_starts_from_a_head_near_zero_and_trains_everything(encoder_of):
    module = FineTuning(FINETUNE, classifier(encoder_of(), 8, "avg"))
    assert all(p.requires_grad for p in module.parameters())
    assert not hasattr(module.model, "norm")


@pytest.mark.parametrize(("run", "recipe"), [(finetune, FINETUNE), (linear_probe, LINEAR)])
def test_the_same_seed_gives_the_same_accuracy(tmp_path, write, roots, run, recipe):
    scores = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        scores.append(run(recipe, Context(tmp_path / name, 3, roots["imagenet"], write())))
    assert scores[0] == scores[1]
    count = len(read_samples(roots["imagenet"], "val"))
    assert (scores[0]["top1"] * count / 100) == pytest.approx(
        round(scores[0]["top1"] * count / 100)
    )


def test_validation_images_of_other_classes_are_refused(tmp_path, write, roots):
    data = tmp_path / "data"
    shutil.copytree(roots["imagenet"], data)
    shutil.rmtree(next((data / "val").iterdir()))
    with pytest.raises(ValueError, match=r"train has 8 classes and val 7, expected the same"):
        inputs(Context(tmp_path, 0, data, write()), 64, start(tmp_path))


def test_what_the_encoder_and_the_data_were_goes_into_the_facts(tmp_path, write, roots):
    inputs(Context(tmp_path, 0, roots["imagenet"], write()), 96, start(tmp_path))
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["data"] == {"classes": 8, "images": 32, "val_images": 16}
    resized = "position embedding resized from 8x8 to 12x12 patches"
    assert facts["encoder"]["history"] == [resized]


def test_tiny_and_small_encoders_have_published_values_of_their_own():
    tiny = ImagenetFinetune.published("vit_tiny_patch16", "mae")
    small = ImagenetFinetune.published("vit_small_patch16", "mae")
    assert (tiny.epochs, tiny.lr_per_256, tiny.layer_decay, tiny.mixup) == (300, 1e-3, 0.85, 0.2)
    assert dataclasses.replace(small, layer_decay=0.85) == tiny
