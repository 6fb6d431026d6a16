import json

import numpy as np
import pytest
import torch

from mae_bench.kit.classifier import Classifier
from mae_bench.kit.spec import EncoderSpec


@pytest.mark.parametrize("pool", ["cls", "avg"])
def test_features_and_logits_equal_the_reference(golden_file, pool):
    golden = np.load(golden_file("vit_classifier.npz"))
    config = json.loads(str(golden["config"]))
    spec = EncoderSpec(
        arch="golden",
        image_size=config["img_size"],
        patch_size=config["patch_size"],
        width=config["embed_dim"],
        depth=config["depth"],
        heads=config["num_heads"],
    )
    model = Classifier(spec, config["num_classes"], pool)
    prefix = f"{pool}/state/"
    state = {
        key.removeprefix(prefix): torch.tensor(golden[key])
        for key in golden.files
        if key.startswith(prefix)
    }
    model.load_state_dict(state, strict=True)
    images = torch.tensor(golden["images"])
    features = model.features(images).detach()
    np.testing.assert_allclose(features, golden[f"{pool}/features"], rtol=1e-5, atol=1e-5)
    logits = model(images).detach()
    np.testing.assert_allclose(logits, golden[f"{pool}/logits"], rtol=1e-5, atol=1e-5)
