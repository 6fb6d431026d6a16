import pytest
import torch
from foreign import BUILDERS
from foreign_case import SIDE

from mae_bench.kit.encoder import load_exactly
from mae_bench.kit.importing import import_encoder
from mae_bench.kit.vit import VisionTransformer


@pytest.fixture
def images():
    return torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def features(imported, images):
    model = VisionTransformer(imported.encoder.spec).eval()
    load_exactly(model, imported.encoder.state)
    with torch.no_grad():
        return model(images)


@pytest.mark.parametrize("name", BUILDERS)
def test_features_equal_the_librarys_own(name, tmp_path, images):
    case = BUILDERS[name](tmp_path)
    imported = import_encoder(case.path, case.options)
    print(imported.format, imported.encoder.spec, *imported.encoder.history, sep="\n")
    print(imported.arrival.table())
    ours = features(imported, images)
    with torch.no_grad():
        theirs = case.features(images)
    ours = ours[:, ours.shape[1] - theirs.shape[1] :]  # dense backbones give the patches alone
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
