import pytest

from mae_bench.commands.ranks import check_compute
from mae_bench.core.compute import Compute
from mae_bench.core.registry import load
from mae_bench.core.site import Site
from mae_bench.suite.launch.devices import compute_of
from mae_bench.suite.preflight import single_ground


@pytest.mark.parametrize(
    ("name", "gpus"),
    [("mae", 2), ("coco_vitdet", 2), ("ade20k_upernet", 2), ("random_init", 1)],
)
def test_every_job_that_trains_takes_all_gpus_asked_for(tmp_path, name, gpus):
    site = Site(store=tmp_path, compute=Compute(gpus=2, workers=3))
    ground = single_ground(load(name).demo(), 0, None, "row", site)
    assert compute_of(ground.plan.jobs[0], ground) == Compute(gpus=gpus, workers=3)


@pytest.mark.parametrize("name", ["mae", "coco_vitdet"])
def test_a_batch_that_cannot_be_divided_is_refused_before_the_job(name):
    recipe = load(name).demo()
    with pytest.raises(
        ValueError, match=f"a batch of {recipe.batch_size} cannot be divided over 3"
    ):
        check_compute(recipe, Compute(gpus=3))
    check_compute(recipe, Compute(gpus=2))


@pytest.mark.parametrize("settings", [{"compile": "on"}, {"shard": "fsdp"}])
def test_what_a_toolbox_cannot_follow_is_refused_before_a_job_is_made(settings):
    for name in ("coco_vitdet", "ade20k_upernet"):
        with pytest.raises(ValueError, match=f"{name} .*leave out --"):
            check_compute(load(name)(), Compute(**settings))
    check_compute(load("imagenet_finetune")(), Compute(**settings))
