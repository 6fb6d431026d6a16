import json

import pytest

from mae_bench.commands.run import run_jobs
from mae_bench.core.compute import Compute
from mae_bench.suite.cost.device import slots
from mae_bench.suite.launch.devices import Devices, devices_here


def seen_by(ground, job):
    names, began, ended = json.loads((ground.store.dir(job) / "seen.json").read_text())
    return names.split(","), began, ended


@pytest.mark.parametrize(
    ("visible", "names"),
    [("4,5", ("4", "5")), ("GPU-a, GPU-b", ("GPU-a", "GPU-b")), ("", ())],
)
def test_the_gpus_are_those_that_this_process_may_use(monkeypatch, visible, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices_here().names == names


def test_gpus_are_given_once_and_again_when_they_are_free():
    devices = Devices(("a", "b", "c"))
    assert devices.take("wide", 2) == "a,b"
    assert not devices.room_for(2)
    assert devices.take("small", 1) == "c"
    assert not devices.room_for(1)
    devices.give_back("wide")
    assert devices.take("other", 2) == "a,b"


def test_a_machine_without_gpus_hands_out_none_and_stops_no_job():
    devices = Devices(())
    assert devices.room_for(8)
    assert devices.take("job", 8) is None


def test_jobs_at_once_never_share_a_gpu_and_a_crash_frees_its_own(
    monkeypatch, build_suite, ground_of
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c")
    rows = {f"Row {n}": {"steps": n} for n in range(1, 4)}
    ground = ground_of(build_suite(rows, {"seeing": {"outcome": "raise"}}))
    assert slots(1) == 3
    assert len(run_jobs(ground, 3)) == 3
    again = ground_of(build_suite(rows, {"seeing": {}}, seeds=(0, 1)))
    assert not run_jobs(again, 3)
    times = [seen_by(again, job) for job in again.plan.jobs if job.recipe.name == "seeing"]
    assert len(times) == 6
    assert {name for (name,), _, _ in times} == {"GPU-a", "GPU-b", "GPU-c"}
    for number, (names, began, ended) in enumerate(times):
        for others, start, end in times[number + 1 :]:
            assert names != others or end <= began or ended <= start


def test_a_job_of_one_gpu_runs_beside_one_of_two(monkeypatch, build_suite, ground_of):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    suite = build_suite({"Row": {}}, {"seeing": {}, "peeking": {}})
    ground = ground_of(suite, compute=Compute(gpus=2))
    assert not run_jobs(ground, slots(1))
    wide, small = (seen_by(ground, job)[0] for job in ground.plan.jobs[1:])
    assert (len(wide), len(small)) == (2, 1)
    assert not set(wide) & set(small)
