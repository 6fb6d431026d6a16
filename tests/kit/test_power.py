import os
import stat
import sys
from pathlib import Path

import pytest

from mae_bench.kit.power import energy_of, metered, own_devices

FAKE = """#!{python}
import sys, time
options = dict(word.lstrip("-").split("=", 1) for word in sys.argv[1:])
assert options["query-gpu"] == "power.draw" and options["format"] == "csv,noheader,nounits"
open({log!r}, "a").write(options["id"] + "\\n")
for number in range(1000):
    for gpu in options["id"].split(","):
        print({readings}, flush=True)
    open({ready!r}, "w").close()
    time.sleep(0.01)
"""


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Return a function: an expression for a GPU's reading -> puts such an nvidia-smi on PATH."""

    def put(readings, devices="0,1"):
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir()
        log, ready = str(tmp_path / "asked"), str(tmp_path / "ready")
        text = FAKE.format(python=sys.executable, log=log, readings=readings, ready=ready)
        program.write_text(text)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
        return tmp_path

    return put


def measure(folder: Path, place: Path) -> None:
    """Measure until a reading is there."""
    (place / "ready").unlink(missing_ok=True)
    with metered(folder):
        while not (place / "ready").exists():
            pass


def test_the_mean_power_of_the_jobs_gpus_is_measured_and_its_energy_adds_up(nvidia_smi, tmp_path):
    place = nvidia_smi("300.0 if gpu == '0' else 500.0")
    os.environ["LOCAL_WORLD_SIZE"] = "2"
    try:
        measure(tmp_path, place)
        first = energy_of(tmp_path)
        assert first["mean_watts"] == pytest.approx(400.0, abs=20)
        measure(tmp_path, place)
    finally:
        del os.environ["LOCAL_WORLD_SIZE"]
    both = energy_of(tmp_path)
    assert both["mean_watts"] == pytest.approx(400.0, abs=20)
    assert (place / "asked").read_text().split() == ["0,1", "0,1"]


def test_only_the_gpus_that_the_job_has_ranks_on_are_asked(nvidia_smi, tmp_path):
    place = nvidia_smi("250.0", devices="GPU-4,GPU-5,GPU-6")
    measure(tmp_path, place)
    assert (place / "asked").read_text() == "GPU-4\n"
    assert energy_of(tmp_path)["mean_watts"] == 250.0


@pytest.mark.parametrize("reading", ["'[N/A]'", "'[Not Supported]'", "''"])
def test_a_board_that_does_not_tell_its_power_leaves_nothing(nvidia_smi, tmp_path, reading):
    place = nvidia_smi(reading)
    measure(tmp_path, place)
    assert energy_of(tmp_path) == {}
    assert not (tmp_path / "energy.json").exists()


def test_units_behind_a_number_do_no_harm(nvidia_smi, tmp_path):
    place = nvidia_smi("'  312.45 W'")
    measure(tmp_path, place)
    assert energy_of(tmp_path)["mean_watts"] == pytest.approx(312.4, abs=0.1)


def test_a_program_that_fails_does_not_fail_the_job(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexit 9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with metered(tmp_path):
        pass
    program.write_text("#!/nowhere/python\n")
    with metered(tmp_path):
        pass
    assert energy_of(tmp_path) == {}


def test_an_error_in_the_job_goes_on_and_the_energy_is_kept(nvidia_smi, tmp_path):
    place = nvidia_smi("100.0")
    with pytest.raises(SystemExit), metered(tmp_path):
        while not (place / "ready").exists():
            pass
        raise SystemExit(75)
    assert energy_of(tmp_path)["mean_watts"] == 100.0


def test_without_a_gpu_nothing_is_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert own_devices() == []
    with metered(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_energy_is_power_times_devices_times_time(tmp_path):
    (tmp_path / "energy.json").write_text('{"joules": 7.2e6, "gpu_seconds": 14400}')
    assert energy_of(tmp_path) == {"energy_kwh": 2.0, "mean_watts": 500.0}
    (tmp_path / "energy.json").write_text("{")
    assert energy_of(tmp_path) == {}
