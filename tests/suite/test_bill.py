import json
import shutil

import pytest

from mae_bench.commands.plan import Price, notes, sums, table, told
from mae_bench.core.files import ENCODER, append_metrics, write_json
from mae_bench.core.site import Site
from mae_bench.suite.cost.bill import Wishes, bill
from mae_bench.suite.cost.disk import bytes_of, disk_problem, room
from mae_bench.suite.cost.samples import Sample, keep_calibrated, nominal_flops
from mae_bench.suite.launch.queue import QueueEntry
from mae_bench.suite.preflight import PreflightError, prepare_ground, survey
from mae_bench.suite.presets import full, smoke
from mae_bench.suite.store import Store


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def data(tmp_path):
    """Return data roots that can be planned with."""
    roots = {name: tmp_path / "data" / name for name in ("imagenet", "coco", "ade20k")}
    for root in roots.values():
        root.mkdir(parents=True)
    return roots


@pytest.fixture
def ground(tmp_path, data):
    """Return the full suite's ground; COCO is not there."""
    site = Site(store=tmp_path / "runs", data={n: data[n] for n in ("imagenet", "ade20k")})
    return survey(full(), site)


def job_of(ground, row, recipe):
    return next(j for j in ground.plan.jobs if (j.row, j.recipe.name) == (row, recipe))


def line_of(found, job):
    return next(line for line in found.lines if line.job.key == job.key)


def finish(store, job):
    folder = store.dir(job)
    folder.mkdir(parents=True, exist_ok=True)
    metrics = {metric.name: 50.0 for metric in job.recipe.metrics}
    content = {"schema": 1, "key": job.key, "metrics": metrics, "seconds": 60.0, "provenance": {}}
    (folder / "result.json").write_text(json.dumps(content))
    (folder / ENCODER).touch()


def saved_at(folder, step, steps):
    """Leave a checkpoint at that step and progress of ten steps more."""
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / f"step-{step:09}-00ff.pt").touch()
    append_metrics(folder, step=step + 10, steps=steps)


def test_every_job_has_the_state_that_its_folder_shows(ground):
    store = ground.store
    done, part, failed, new = (
        job_of(ground, "MAE ViT-B", name)
        for name in ("mae", "imagenet_finetune", "imagenet_linear", "ade20k_upernet")
    )
    blocked = job_of(ground, "MAE ViT-B", "coco_vitdet")
    finish(store, done)
    saved_at(store.prepare(part, None), 25, 100)
    write_json(store.prepare(failed, None) / "failure.json", {"message": "ValueError: no"})
    found = bill(ground, Wishes(8, "V100"))
    states = [(line_of(found, job).state) for job in (done, part, failed, new, blocked)]
    assert states == ["cached", "continues", "failed before", "to run", "blocked"]
    assert line_of(found, failed).reason == "ValueError: no"
    assert "coco: no folder given" in line_of(found, blocked).reason
    assert line_of(found, done).gpu_hours == 0
    tuned = line_of(found, part)
    assert tuned.gpu_hours == pytest.approx(0.75 * 32 * (7 + 11 / 60))


def test_what_a_scheduler_holds_is_queued_or_running_where_it_says(ground):
    first, second, third = (job_of(ground, f"MAE ViT-{size}", "mae") for size in "BLH")
    queue = {
        first.key: QueueEntry("12", "queued", reason="Priority"),
        second.key: QueueEntry("13", "running", where="n[1-2]"),
        third.key: QueueEntry("14", "queued"),
    }
    finish(ground.store, third)
    found = bill(ground, Wishes(8, "V100"), queue)
    lines = [line_of(found, job) for job in (first, second, third)]
    assert [(line.state, line.reason) for line in lines] == [
        ("queued", "12 Priority"),
        ("running", "13 n[1-2]"),
        ("cached", ""),  # its result counts, not the scheduler's word
    ]


def test_sums_are_those_of_the_lines_and_leave_out_what_is_blocked(ground):
    before = bill(ground, Wishes(8, "V100"))
    able = [line for line in before.lines if line.state != "blocked"]
    assert before.gpu_hours == pytest.approx(sum(line.gpu_hours for line in able))
    first = job_of(ground, "MAE ViT-L", "mae")
    finish(ground.store, first)
    after = bill(ground, Wishes(8, "V100"))
    saved = before.gpu_hours - after.gpu_hours
    assert saved == pytest.approx(2 * 42 * 64, rel=1e-4)
    assert after.blocked_gpu_hours == before.blocked_gpu_hours > 0


def test_more_devices_shorten_the_wall_down_to_the_longest_chain(ground):
    walls = [bill(ground, Wishes(n, "V100")).wall_hours for n in (1, 8, 64, 1000)]
    assert walls == sorted(walls, reverse=True)
    one = bill(ground, Wishes(1, "V100"))
    assert walls[0] == pytest.approx(one.gpu_hours)
    mae, *tasks = (line for line in one.lines if line.job.row == "MAE ViT-H")
    able = [line.hours for line in tasks if line.state != "blocked"]
    assert walls[-1] == pytest.approx(mae.hours + max(able))


def test_jobs_of_several_gpus_take_less_time_and_as_many_gpu_hours(ground, tmp_path, data):
    from mae_bench.core.compute import Compute

    wide = survey(full(), Site(tmp_path / "runs", data, compute=Compute(gpus=8)))
    job = job_of(ground, "MAE ViT-B", "mae")
    one, eight = (line_of(bill(g, Wishes(8, "V100")), job) for g in (ground, wide))
    assert (one.gpus, eight.gpus) == (1, 8)
    assert one.gpu_hours == eight.gpu_hours == pytest.approx(8 * eight.hours)


@pytest.mark.parametrize("width", [100, 200])
def test_the_table_of_63_jobs_fits_the_terminal(ground, width):
    found = bill(ground, Wishes(8, "H200"))
    lines = list(table(found, width))
    assert len(lines) == 64
    assert max(map(len, lines)) <= width
    first = found.lines[0].job
    assert lines[1].startswith(first.key if width == 200 else first.key[:8] + "  MAE ViT-B ")
    text = "\n".join(lines)
    assert ("(facebookresearch/mae" in text) == (width == 200)
    said = "\n".join([*notes(found), *sums("full", found, Price())])
    assert "full: 63 jobs: 45 to run, 18 blocked" in said
    assert "coco: no folder given; set data.coco in site.toml or pass --coco DIR" in said
    assert "published (6 jobs): 7 h 11 min on 32 V100" in said


def test_long_labels_are_cut_and_numbers_are_not(ground):
    found = bill(ground, Wishes(8, "H200"))
    lines = list(table(found, 80))
    assert max(map(len, lines)) <= 80
    assert "Random in…" in "\n".join(lines)
    assert lines[1].endswith("319.7 h  published")


def test_money_and_energy_are_shown_when_asked_for_and_say_what_they_assume(ground):
    found = bill(ground, Wishes(8, "H200"))
    plain = "\n".join(sums("full", found, Price()))
    assert "kWh" not in plain
    assert "EUR" not in plain
    asked = "\n".join(sums("full", found, Price(2.5, "CHF", energy=True)))
    hours = found.gpu_hours
    assert f"{hours * 2.5:,.2f} CHF" in asked
    assert f"{hours * 0.7:,.1f} kWh" in asked
    assert "assumed: the board power of H200" in asked


def test_money_and_energy_are_also_told_as_if_none_were_blocked(ground, tmp_path, data):
    price = Price(2.5, "CHF", energy=True)
    found = bill(ground, Wishes(8, "H200"))
    able = bill(survey(full(), Site(tmp_path / "runs", data)), Wishes(8, "H200"))
    assert able.gpu_hours > found.gpu_hours
    asked = "\n".join(sums("full", found, price))
    assert f" CHF; {able.gpu_hours * 2.5:,.2f} CHF if none were blocked" in asked
    assert f"; {able.kwh:,.1f} kWh if none were blocked" in asked
    content = told(found, price)
    assert content["price"]["whole_total"] == pytest.approx(able.gpu_hours * 2.5)
    assert content["whole_energy_kwh"] == pytest.approx(able.kwh)
    plain = [line for line in sums("full", able, price) if "money" in line or "energy" in line]
    assert len(plain) == 2
    assert not any("if none were blocked" in line for line in plain)


def test_measured_power_comes_before_the_data_sheets(ground):
    job = job_of(ground, "MAE ViT-B", "mae")
    flops = nominal_flops(job.recipe, "vit_base_patch16")
    ground.store.root.mkdir(exist_ok=True)
    known = Sample(
        "measured", "mae", "vit_base_patch16", "other", "NVIDIA H200", 9.0, flops, watts=500.0
    )
    keep_calibrated(ground.store.root, [known])
    found = bill(ground, Wishes(8, "H200"))
    line = line_of(found, job)
    assert (line.watts, line.watts_from) == (500.0, "measured here")
    assert line.kwh == pytest.approx(line.gpu_hours * 0.5)


def test_json_tells_the_same(ground):
    found = bill(ground, Wishes(8, "H200"))
    content = json.loads(json.dumps(told(found, Price(2.0))))
    assert content["gpu_hours"] == found.gpu_hours
    assert content["price"]["total"] == pytest.approx(2 * content["gpu_hours"])
    assert content["device"] == {"name": "H200", "why": "asked for", "count": 8}
    assert len(content["jobs"]) == 63
    assert sum(job["gpu_hours"] for job in content["jobs"]) == pytest.approx(
        content["gpu_hours"] + content["blocked_gpu_hours"]
    )


def test_the_disk_needed_is_that_of_the_jobs_to_run(ground):
    sizes = ground.plan.data_sizes
    jobs = [job_of(ground, "MAE ViT-L", name) for name in ("mae", "imagenet_finetune")]
    each = [bytes_of(job, sizes, keep=2) for job in jobs]
    assert 10e9 < each[0] < 12e9  # two checkpoints of 329 million parameters and moments
    both = room(jobs, ground.store, sizes, keep=2)
    assert sum(each) < both.needed < 1.4 * sum(each)
    assert both.free == shutil.disk_usage(ground.store.root.parent).free
    kept = ground.store.prepare(jobs[0], None) / "checkpoints"
    kept.mkdir()
    (kept / "step-1.pt").write_bytes(bytes(10_000_000))
    less = room(jobs, ground.store, sizes, keep=2)
    assert 10_000_000 <= both.needed - less.needed < 10_010_000


def test_a_disk_that_is_too_small_is_a_problem_before_any_job(tmp_path, monkeypatch):
    ground = survey(smoke(), Site(store=tmp_path / "runs"))
    few = type(shutil.disk_usage(tmp_path))(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: few)
    with pytest.raises(PreflightError) as error:
        prepare_ground(ground, lambda done, total: None)
    (line,) = str(error.value).splitlines()
    assert line.startswith("disk: 1 kB are free for the store")
    assert "pass --store DIR on a larger disk" in line


def test_enough_disk_is_no_problem(tmp_path):
    ground = survey(smoke(), Site(store=tmp_path / "runs"))
    assert disk_problem(ground.plan.jobs, Store(tmp_path), ground.plan.data_sizes, keep=2) == []
