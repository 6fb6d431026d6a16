import pytest

from mae_bench.kit.gpus import cpu_name, gpu_name, visible_gpus


@pytest.fixture
def driver(tmp_path):
    """Return a folder such as the driver's in /proc, of a machine with two GPUs."""
    for bus in ("0000:17:00.0", "0000:18:00.0"):
        (tmp_path / bus).mkdir()
        (tmp_path / bus / "information").write_text(
            "Model: \t\t NVIDIA H200\nIRQ:   \t\t 123\nGPU UUID: \t GPU-1\n"
        )
    return tmp_path


def test_the_driver_tells_names_and_numbers_of_gpus(driver, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_name(driver) == "NVIDIA H200"
    assert visible_gpus(driver) == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert visible_gpus(driver) == 1


def test_a_machine_without_a_driver_has_no_gpu(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_name(tmp_path / "none") == ""
    assert visible_gpus(tmp_path / "none") == 0


def test_a_processor_has_a_name():
    assert cpu_name()
