import pytest
from timm.models.vision_transformer import VisionTransformer as TimmViT

from mae_bench.kit.archs import ARCHS
from mae_bench.kit.facts import multiply_adds
from mae_bench.kit.spec import named_spec
from mae_bench.kit.vit import VisionTransformer


@pytest.mark.parametrize(("arch", "side"), [("vit_smoke_patch8", 64), ("vit_tiny_patch16", 224)])
def test_flops_equal_the_closed_form(arch, side):
    spec = named_spec(arch, side, origin="random_init")
    patches, width = spec.grid**2, spec.width
    tokens = patches + 1
    embedding = patches * 3 * spec.patch_size**2 * width
    matrices = tokens * 12 * width**2  # qkv 3, projection 1, MLP 4 + 4
    attention = 2 * tokens**2 * width
    norms = (2 * spec.depth + 1) * 5 * tokens * width  # fvcore counts 5 operations a value
    counted = multiply_adds(VisionTransformer(spec), spec)
    assert counted == embedding + spec.depth * (matrices + attention) + norms


def test_vit_base_has_the_published_size():
    spec = named_spec("vit_base_patch16", 224, origin="random_init")
    assert multiply_adds(VisionTransformer(spec), spec) / 1e9 == pytest.approx(17.58, abs=0.01)


@pytest.mark.parametrize("arch", ["vit_tiny_patch16", "vit_small_patch16"])
def test_parameters_equal_those_of_timms_vit(arch):
    size = ARCHS[arch]
    theirs = TimmViT(
        patch_size=16,
        embed_dim=size.width,
        depth=size.depth,
        num_heads=size.heads,
        num_classes=0,
    )
    ours = VisionTransformer(named_spec(arch, 224, origin="random_init"))
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
