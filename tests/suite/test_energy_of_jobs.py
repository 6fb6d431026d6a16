import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

FAKE = """#!{python}
import time
for number in range(10000):
    print("321.50", flush=True)
    open({ready!r}, "w").close()
    time.sleep(0.01)
"""


@pytest.fixture
def ready(tmp_path, monkeypatch):
    """Put an nvidia-smi on PATH; return the file that is there once it was read from."""
    program, ready = tmp_path / "bin" / "nvidia-smi", tmp_path / "ready"
    program.parent.mkdir()
    program.write_text(FAKE.format(python=sys.executable, ready=str(ready)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    return ready


def wait_for(*paths: Path) -> None:
    until = time.monotonic() + 60
    while not all(path.exists() for path in paths):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_result_says_what_its_gpus_drew_over_all_attempts(ready, ground_of, build_suite):
    ground = ground_of(build_suite(rows={"Good": {"pause_at": 3}}))
    job = ground.plan.jobs[0]
    folder = ground.store.prepare(job, None)
    command = [sys.executable, "-m", "mae_bench.suite.execute", folder]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(folder / "paused", ready)
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 75
    before = json.loads((folder / "energy.json").read_text())
    assert before["joules"] == pytest.approx(321.5 * before["gpu_seconds"])
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    result = ground.store.result(job)
    assert result.provenance["mean_watts"] == 321.5
    kwh = before["joules"] / 3.6e6
    assert result.provenance["energy_kwh"] >= round(kwh, 6) > 0


def test_a_result_made_without_a_gpu_says_nothing_of_energy(ground_of, build_suite, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    ground = ground_of(build_suite())
    job = ground.plan.jobs[0]
    folder = ground.store.prepare(job, None)
    command = [sys.executable, "-m", "mae_bench.suite.execute", folder]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    provenance = ground.store.result(job).provenance
    assert not {"mean_watts", "energy_kwh"} & provenance.keys()
    assert provenance["ranks"] == 1


def test_a_result_that_was_replaced_is_read_again(ground_of, build_suite):
    ground = ground_of(build_suite())
    job = ground.plan.jobs[0]
    folder = ground.store.prepare(job, None)
    path = folder / "result.json"
    content = {"schema": 1, "key": job.key, "metrics": {"score": 1.0}, "seconds": 1.0}
    for score in (1.0, 2.0, 3.0):
        new = path.with_name("new")
        new.write_text(json.dumps(content | {"metrics": {"score": score}, "provenance": {}}))
        new.replace(path)
        assert ground.store.result(job).metrics == {"score": score}
    path.write_text("{")
    assert ground.store.result(job) is None
    path.unlink()
    assert ground.store.result(job) is None
