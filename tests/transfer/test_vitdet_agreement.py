"""coco_vitdet against detectron2 itself, so that a drift of either shows.

The overrides of projects/ViTDet (facebookresearch/detectron2, configs/COCO/mask_rcnn_vitdet_*.py),
which the installed package does not carry, are written here as numbers.
"""

import dataclasses
import json
from functools import partial

import pytest
import torch
from detectron2 import model_zoo
from detectron2.config import instantiate
from detectron2.data.dataset_mapper import DatasetMapper
from detectron2.modeling.backbone.vit import ViT, get_vit_lr_decay_rate
from detectron2.modeling.proposal_generator.rpn import RPN
from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import MultiStepParamScheduler
from omegaconf import OmegaConf

from mae_bench.kit.encoder import Encoder
from mae_bench.kit.fit import for_toolbox
from mae_bench.kit.spec import named_spec
from transfer.coco_vitdet import CocoVitDet
from transfer.detectron2_adapter.attention import FusedViT
from transfer.detectron2_adapter.config import train_mapper
from transfer.detectron2_adapter.model import parameter_groups
from transfer.detectron2_adapter.proposals import GuardedRPN
from transfer.detectron2_adapter.vitdet import model_config

SIZES = {  # width, depth, heads, drop path, blocks with global attention, layer decay
    "vit_base_patch16": (768, 12, 12, 0.1, (2, 5, 8, 11), 0.7),
    "vit_large_patch16": (1024, 24, 16, 0.4, (5, 11, 17, 23), 0.8),
    "vit_huge_patch14": (1280, 32, 16, 0.5, (7, 15, 23, 31), 0.9),
}
EVERY_SIZE = pytest.mark.parametrize("arch", SIZES)


def theirs_of(arch):
    """Return projects/ViTDet's model config for that size."""
    width, depth, heads, drop_path, global_blocks, _ = SIZES[arch]
    model = model_zoo.get_config("common/models/mask_rcnn_vitdet.py").model
    net = model.backbone.net
    net.embed_dim, net.depth, net.num_heads, net.drop_path_rate = width, depth, heads, drop_path
    net.window_block_indexes = [i for i in range(depth) if i not in global_blocks]
    return model


def ours_of(arch, recipe=None, spec=None):
    """Return our model config for that size."""
    spec = spec or named_spec(arch, 224, "mae")
    kernel = {"patch_embed.proj.weight": torch.zeros(1, 3, spec.patch_size, spec.patch_size)}
    encoder = for_toolbox(Encoder(spec, kernel, ""), "detectron2")
    return model_config(recipe or CocoVitDet.published(arch, "mae"), encoder, 80)


def leaves(config, name=""):
    """Return every value of a config by its path, as text."""
    if isinstance(config, dict):
        parts = config.items()
    elif isinstance(config, list):
        parts = enumerate(config)
    else:
        return {name: str(config)}
    found = {}
    for key, value in parts:
        found |= leaves(value, f"{name}.{key}")
    return found


def plain(config):
    """Return a lazy config as plain values."""
    held = OmegaConf.to_container(OmegaConf.create({"model": config}), resolve=True)
    return leaves(json.loads(json.dumps(held, default=str)))


@EVERY_SIZE
def test_the_model_is_projects_vitdet_in_every_field(arch):
    ours, theirs = plain(ours_of(arch)), plain(theirs_of(arch))
    net = ".model.backbone.net"
    differing = {
        name: (ours.get(name), theirs.get(name))
        for name in ours.keys() | theirs.keys()
        if ours.get(name) != theirs.get(name) and name != f"{net}.norm_layer"
    }
    patched = {f"{net}.pretrain_img_size": ("256" if "huge" in arch else "224", None)}
    assert differing == patched | {
        f"{net}._target_": (str(FusedViT), str(ViT)),  # equal outputs: test_fused_attention
        ".model.proposal_generator._target_": (str(GuardedRPN), str(RPN)),  # and a guard
        ".model.roi_heads.box_predictor.test_topk_per_image": ("100", None),  # their default
    }
    assert issubclass(FusedViT, ViT)
    assert issubclass(GuardedRPN, RPN)


def narrow(arch):
    """Return a published recipe and a spec of that size's depth but of few channels."""
    spec = dataclasses.replace(
        named_spec(arch, 224, "mae"), width=32, heads=2, image_size=64, patch_size=16
    )
    recipe = dataclasses.replace(CocoVitDet.published(arch, "mae"), image_size=128)
    return recipe, spec


def narrowed(config):
    """Return a config of theirs with the channels and image size of `narrow`."""
    net = config.backbone.net
    net.embed_dim, net.num_heads, net.img_size, net.pretrain_img_size = 32, 2, 128, 64
    config.backbone.square_pad = 128
    return config


@EVERY_SIZE
def test_every_parameter_has_their_name_shape_rate_and_decay(arch):
    recipe, spec = narrow(arch)
    ours = instantiate(ours_of(arch, recipe, spec))
    theirs = instantiate(narrowed(theirs_of(arch)))
    shapes = [{n: tuple(p.shape) for n, p in one.named_parameters()} for one in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert ours.backbone.output_shape() == theirs.backbone.output_shape()

    config = model_zoo.get_config("common/optim.py").AdamW
    config.params.model = theirs
    depth, decay = SIZES[arch][1], SIZES[arch][-1]
    config.params.lr_factor_func = partial(
        get_vit_lr_decay_rate, num_layers=depth, lr_decay_rate=decay
    )
    config.params.overrides = {"pos_embed": {"weight_decay": 0.0}}
    if "huge" in arch:  # its project file takes both back
        config.params.overrides, config.params.weight_decay_norm = {}, None
    expected, own = instantiate(config), torch.optim.AdamW(parameter_groups(ours, recipe, depth))
    tables = [
        {
            name: (groups[id(p)]["lr"], groups[id(p)]["weight_decay"], groups[id(p)]["betas"])
            for name, p in model.named_parameters()
        }
        for model, optimizer in ((ours, own), (theirs, expected))
        for groups in [{id(p): g for g in optimizer.param_groups for p in g["params"]}]
    ]
    assert tables[0] == tables[1]
    assert {group["eps"] for group in own.param_groups} == {expected.defaults["eps"]}
    net = "backbone.net."
    assert tables[0][net + "pos_embed"][:2] == pytest.approx(
        (1e-4 * decay ** (depth + 1), 0.1 if "huge" in arch else 0.0)
    )


def test_the_pyramid_of_the_same_weights_is_theirs():
    recipe, spec = narrow("vit_base_patch16")
    theirs = instantiate(narrowed(theirs_of("vit_base_patch16"))).eval()
    ours = instantiate(ours_of("vit_base_patch16", recipe, spec)).eval()
    for name, parameter in theirs.named_parameters():
        if "rel_pos" in name:
            torch.nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 128, 128)
    found, expected = ours.backbone(images), theirs.backbone(images)
    assert found.keys() == expected.keys() == {"p2", "p3", "p4", "p5", "p6"}
    for name, level in expected.items():
        torch.testing.assert_close(found[name], level, atol=1e-5, rtol=1e-5)


def test_relative_positions_can_be_left_out_as_in_table_4():
    recipe, spec = narrow("vit_base_patch16")
    without = dataclasses.replace(recipe, relative_positions=False)
    names = [
        {n for n, _ in instantiate(ours_of("", one, spec)).named_parameters()}
        for one in (recipe, without)
    ]
    assert {name.rpartition(".")[2] for name in names[0] - names[1]} == {"rel_pos_h", "rel_pos_w"}


@pytest.mark.parametrize(
    ("arch", "origin", "iterations", "milestones"),
    [
        ("vit_base_patch16", "mae", 184375, [163889, 177546]),
        ("vit_large_patch16", "mae", 184375, [163889, 177546]),
        ("vit_huge_patch14", "mae", 184375 * 3 // 4, [163889 * 3 // 4, 177546 * 3 // 4]),
        ("vit_base_patch16", "supervised", 184375 // 2, [163889 // 2, 177546 // 2]),
    ],
)
def test_the_schedule_is_fvcores_at_many_iterations(arch, origin, iterations, milestones):
    recipe = CocoVitDet.published(arch, origin)
    assert recipe.iterations == iterations
    theirs = WarmupParamScheduler(
        MultiStepParamScheduler([1.0, 0.1, 0.01], milestones=milestones, num_updates=iterations),
        warmup_factor=0.001,
        warmup_length=250 / iterations,
    )
    near = [step + i for step in (0, 250, *milestones, iterations - 3) for i in (-2, -1, 0, 1, 2)]
    for step in sorted({*range(0, iterations, 997), *range(250)} | {s for s in near if s >= 0}):
        assert recipe.lr_factor(step) == pytest.approx(theirs(step / iterations), rel=1e-9), step


def test_training_images_take_the_transforms_of_their_large_scale_jitter():
    config = model_zoo.get_config("new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ.py").dataloader
    mapper = config.train.mapper
    scale, crop, flip = mapper.augmentations
    crop.pad = False  # coco_loader_lsj: flip first, padding by the model, RGB
    mapper.augmentations, mapper.image_format = [flip, scale, crop], "RGB"
    theirs, ours = instantiate(mapper), train_mapper(CocoVitDet(), masks=True)
    assert isinstance(ours, DatasetMapper)
    steps = [
        [(type(one).__name__, vars(one)) for one in mapper.augmentations.augs]
        for mapper in (ours, theirs)
    ]
    assert steps[0] == steps[1]
    assert [name for name, _ in steps[0]] == ["RandomFlip", "ResizeScale", "FixedSizeCrop"]
    assert ours.instance_mask_format == "bitmask"  # theirs: polygons; COCO files may hold both
    for name in ("is_train", "image_format", "use_instance_mask", "recompute_boxes"):
        assert getattr(ours, name) == getattr(theirs, name), name
