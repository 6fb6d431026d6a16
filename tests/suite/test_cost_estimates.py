import dataclasses
import json

import pytest

from mae_bench.core.demo_data import DemoData
from mae_bench.core.job import Job
from mae_bench.core.recipe import build, fields_of
from mae_bench.kit.gpus import cpu_name, kind_of
from mae_bench.suite.cost.device import Device, chosen_device
from mae_bench.suite.cost.disk import bytes_of
from mae_bench.suite.cost.estimate import estimates
from mae_bench.suite.cost.samples import Sample, keep_calibrated, nominal_flops, read_samples
from mae_bench.suite.plan import DataSizes, Plan
from pretrain.mae import MAE
from pretrain.random_init import RandomInit
from transfer.ade20k_upernet import Ade20kUperNet
from transfer.coco_vitdet import CocoVitDet
from transfer.imagenet_finetune import ImagenetFinetune
from transfer.imagenet_linear import ImagenetLinear

BASE, LARGE = "vit_base_patch16", "vit_large_patch16"
HOUR = 3600.0


def on(kind):
    return chosen_device(kind, [], demo_data=None)


def random(arch):
    return Job("Random", RandomInit(arch=arch), 0, "")


def estimate(job, device, samples=(), sizes=None):
    """Return what the one job takes."""
    planned = Plan(None, (job,), ())
    if sizes is not None:
        from mae_bench.suite.suite import Column, Suite, made_row

        row = made_row("Random", "random_init", "demo", {})
        suite = Suite("one", (row,), (Column("imagenet_knn", "demo"),), (0,), sizes)
        planned = dataclasses.replace(planned, suite=suite)
    return estimates(planned, samples, device)[job.key]


def finished(store, job, seconds, device, world=1, **provenance):
    """Leave a result as execute does."""
    folder = store / job.key
    folder.mkdir(parents=True, exist_ok=True)
    arch = getattr(job.recipe, "arch", None) or job.source.recipe.arch
    facts = {"encoder": {"arch": arch}, "training": {"world": world}}
    about = {"identity": job.identity, "device": device, "facts": facts, **provenance}
    metrics = {metric.name: 0.0 for metric in job.recipe.metrics}
    content = {"schema": 1, "key": job.key, "metrics": metrics, "seconds": seconds}
    content["provenance"] = about
    (folder / "result.json").write_text(json.dumps(content))


def test_a_published_run_costs_what_was_published():
    job = Job("MAE", MAE(arch=LARGE, epochs=800), 0, "imagenet")
    found = estimate(job, on("V100"))
    assert (found.how, found.gpu_seconds) == ("published", pytest.approx(42 * 64 * HOUR))
    assert "42 h on 64 V100" in found.source
    assert found.seconds(8) == pytest.approx(42 * 64 / 8 * HOUR)


def test_time_and_disk_are_of_the_images_that_the_data_has():
    job = Job("MAE", MAE(arch=LARGE, epochs=800), 0, "mine")
    tenth = {"images": 128_117, "val_images": 5_000, "classes": 100}
    planned = Plan(None, (job,), (), counted={"mine": tenth})
    found = estimates(planned, [], on("V100"))[job.key]
    assert found.gpu_seconds == pytest.approx(42 * 64 * HOUR / 10, rel=1e-4)
    probe = Job("Probe", ImagenetLinear(), 0, "mine", job)
    small, whole = (bytes_of(probe, sizes, keep=1) for sizes in (planned.data_sizes, DataSizes()))
    layer, predictions = 3 * 4 * 900 * 1024, 45_000 * 100  # weights with two moments; a line each
    assert whole - small == pytest.approx(1.02 * (layer + predictions))


def test_the_nearest_published_size_is_scaled_by_flops_and_peaks():
    large = estimate(Job("MAE", MAE(arch=LARGE, epochs=800), 0, "imagenet"), on("V100"))
    twice = estimate(Job("MAE", MAE(arch=LARGE, epochs=1600), 0, "imagenet"), on("V100"))
    assert twice.gpu_seconds == pytest.approx(2 * large.gpu_seconds, rel=1e-4)
    base = estimate(Job("MAE", MAE(arch=BASE, epochs=800), 0, "imagenet"), on("V100"))
    assert base.gpu_seconds == pytest.approx(large.gpu_seconds * 58.5 / 124.2, rel=1e-2)
    faster = estimate(Job("MAE", MAE(arch=LARGE, epochs=800), 0, "imagenet"), on("A100"))
    assert faster.gpu_seconds == pytest.approx(large.gpu_seconds * 125 / 312)
    assert "by peak FLOP/s for A100" in faster.source


@pytest.mark.parametrize(("arch", "hours"), [(BASE, 7 + 11 / 60), (LARGE, 8 + 52 / 60)])
def test_each_size_of_fine_tuning_has_its_own_published_hours(arch, hours):
    recipe = ImagenetFinetune.published(arch, "mae")
    found = estimate(Job("R", recipe, 0, "imagenet", random(arch)), on("V100"))
    assert found.gpu_seconds == pytest.approx(32 * hours * HOUR)


def test_a_detector_costs_the_published_seconds_an_image():
    recipe = CocoVitDet.published(BASE, "mae")
    found = estimate(Job("R", recipe, 0, "coco", random(BASE)), on("A100"))
    assert found.gpu_seconds == pytest.approx(0.314 * 64 * 184375)


def test_what_nobody_published_is_estimated_from_flops_and_says_so():
    recipe = Ade20kUperNet.published(BASE, "mae")
    job = Job("R", recipe, 0, "ade20k", random(BASE))
    found = estimate(job, on("A100"))
    assert found.how == "estimated"
    assert found.source == "FLOPs at 5.5% of the data sheet's peak of A100"
    assert found.gpu_seconds == pytest.approx(
        nominal_flops(recipe, BASE) / (0.055 * 312e12), rel=1e-6
    )


def test_the_demo_on_processors_is_its_own_seconds_scaled_by_flops():
    recipe = ImagenetFinetune.demo()
    processor = Device("any", None, "")
    demo = random("vit_demo_patch8")
    job = Job("R", recipe, 0, "demo", demo)
    assert estimate(job, processor, sizes=DemoData()).gpu_seconds == 52.0
    longer = Job("R", build(ImagenetFinetune, {"epochs": 8}, recipe), 0, "demo", demo)
    found = estimate(longer, processor, sizes=DemoData())
    assert 1.7 * 52 < found.gpu_seconds < 2 * 52  # less than twice: the test is not longer


def test_jobs_measured_here_count_before_all_else(tmp_path):
    short = Job("MAE", MAE(arch=BASE, epochs=100), 0, "imagenet")
    for seed, hours in enumerate((9.0, 10.0, 50.0)):
        finished(tmp_path, dataclasses.replace(short, seed=seed), hours * HOUR, "NVIDIA H200", 8)
    samples = read_samples(tmp_path)
    job = Job("MAE", MAE(arch=BASE, epochs=300), 0, "imagenet")
    found = estimate(job, on("H200"), samples)
    assert (found.how, found.source) == ("measured", "3 jobs here")
    assert found.gpu_seconds == pytest.approx(3 * 8 * 10 * HOUR, rel=1e-3)  # the median
    large = Job("MAE", MAE(arch=LARGE, epochs=100), 0, "imagenet")
    scaled = estimate(large, on("H200"), samples).gpu_seconds
    assert scaled == pytest.approx(8 * 10 * HOUR * 124.2 / 58.5, rel=1e-2)


def test_jobs_of_the_same_size_are_preferred(tmp_path):
    finished(tmp_path, Job("MAE", MAE(arch=BASE), 0, "d"), 100 * HOUR, "NVIDIA A100-SXM4-80GB")
    finished(tmp_path, Job("MAE", MAE(arch=LARGE), 0, "d"), 150 * HOUR, "NVIDIA A100-SXM4-80GB")
    found = estimate(Job("MAE", MAE(arch=LARGE), 1, "d"), on("A100"), read_samples(tmp_path))
    assert (found.gpu_seconds, found.source) == (pytest.approx(150 * HOUR), "1 job here")


@pytest.mark.parametrize(
    ("device", "data"), [("NVIDIA A100-SXM4-80GB", "imagenet"), ("NVIDIA H200", "other")]
)
def test_jobs_on_other_devices_or_data_tell_nothing(tmp_path, device, data):
    finished(tmp_path, Job("MAE", MAE(arch=BASE), 0, data), 10 * HOUR, device)
    job = Job("MAE", MAE(arch=BASE), 0, "imagenet")
    assert estimate(job, on("H200"), read_samples(tmp_path)).how == "published"


def test_results_of_an_older_version_or_damaged_ones_tell_nothing(tmp_path):
    job = Job("MAE", MAE(arch=BASE), 0, "imagenet")
    finished(tmp_path, job, 10.0, "NVIDIA H200")
    path = tmp_path / job.key / "result.json"
    content = json.loads(path.read_text())
    content["provenance"]["identity"]["version"] = 1
    for text in (json.dumps(content), "{", json.dumps({"schema": 1}), "[]"):
        path.write_text(text)
        assert read_samples(tmp_path) == []


def test_what_was_calibrated_counts_before_what_was_published_and_after_what_was_measured(tmp_path):
    job = Job("MAE", MAE(arch=BASE), 0, "imagenet")
    flops = nominal_flops(job.recipe, BASE)
    timed = Sample("calibrated", "mae", BASE, "imagenet", "NVIDIA H200", 5 * HOUR, flops)
    keep_calibrated(tmp_path, [dataclasses.replace(timed, gpu_seconds=1.0)])
    keep_calibrated(tmp_path, [timed])  # in place of the one before
    found = estimate(job, on("H200"), read_samples(tmp_path))
    assert (found.how, found.gpu_seconds) == ("calibrated", pytest.approx(5 * HOUR))
    finished(tmp_path, job, 7 * HOUR, "NVIDIA H200")
    assert estimate(job, on("H200"), read_samples(tmp_path)).how == "measured"


def test_a_store_tells_its_device_where_the_machine_has_no_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert chosen_device("", [], demo_data=None).name == "A100"
    assert chosen_device("", [], demo_data=DemoData()).name == cpu_name()
    for seed in (0, 1):
        finished(tmp_path, Job("M", MAE(), seed, "d"), 1.0, "NVIDIA H100 80GB HBM3")
    finished(tmp_path, Job("M", MAE(), 2, "d"), 1.0, "a processor")
    found = chosen_device("", read_samples(tmp_path), demo_data=DemoData())
    assert (found.name, found.kind.name) == ("NVIDIA H100 80GB HBM3", "H100")
    with pytest.raises(ValueError, match=r"--gpu-kind must be one of GB200, B200, .* got 'H900'"):
        chosen_device("H900", [], demo_data=None)


def test_a_gpu_without_a_data_sheet_is_taken_for_another_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    finished(tmp_path, Job("M", MAE(), 0, "d"), 100 * HOUR, "NVIDIA Titan X9")
    samples = read_samples(tmp_path)
    device = chosen_device("", samples, demo_data=None)
    assert device.why == "that of most results in the store; taken for an A100"
    assert estimate(Job("M", MAE(), 1, "d"), device, samples).how == "measured"
    other = Job("M", ImagenetFinetune(), 0, "d", random(BASE))
    assert estimate(other, device, samples) == estimate(other, on("A100"))
    assert not device.is_that_of("NVIDIA A100-SXM4-80GB")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 ADA"),
        ("NVIDIA RTX A6000", "A6000"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("NVIDIA GeForce RTX 4090", "4090"),
        ("h100", "H100"),
    ],
)
def test_a_gpu_is_told_by_its_name(name, kind):
    assert kind_of(name).name == kind


@pytest.mark.parametrize("name", ["NVIDIA A1000", "Intel(R) Xeon(R) E5-2680 v4", "AMD EPYC 7742"])
def test_other_names_are_no_known_gpu(name):
    assert kind_of(name) is None


def test_fields_of_a_result_are_read_as_the_recipe_had_them(tmp_path):
    recipe = build(MAE, {"arch": BASE, "epochs": 50})
    job = Job("M", recipe, 0, "d")
    finished(tmp_path, job, 1.0, "x")
    (sample,) = read_samples(tmp_path)
    assert fields_of(recipe)["epochs"] == 50
    assert sample.flops == nominal_flops(recipe, BASE)
