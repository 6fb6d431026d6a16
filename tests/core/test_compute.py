import pytest

from mae_bench.core.compute import Compute, compute_from, read_compute, write_compute
from mae_bench.core.site import read_site


def test_settings_come_back_from_a_jobs_folder(tmp_path):
    assert read_compute(tmp_path) == Compute()
    chosen = Compute(gpus=8, micro_batch=64, precision="bf16", recompute=True, bad_images=0.01)
    write_compute(tmp_path, chosen)
    assert read_compute(tmp_path) == chosen


def test_a_site_sets_them_for_every_run(tmp_path):
    (tmp_path / "site.toml").write_text("[compute]\ngpus = 4\nprecision = 'fp16'\n")
    assert read_site(tmp_path / "site.toml").compute == Compute(gpus=4, precision="fp16")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gpu": 2}, "unknown key of [compute] 'gpu'; did you mean 'gpus'?"),
        ({"gpus": "2"}, "compute.gpus must be int, got '2'"),
        ({"gpus": 0}, "compute.gpus must be >= 1, got 0"),
        ({"precision": "fp8"}, "compute.precision must be one of 'auto', 'fp32', 'bf16', 'fp16'"),
        ({"bad_images": 1.5}, "compute.bad_images must be in [0, 1), got 1.5"),
        ({"micro_batch": 0}, "compute.micro_batch must be auto or >= 1, got 0"),
        ({"micro_batch": "big"}, "compute.micro_batch must be one of 'auto', got 'big'"),
        ({"micro_batch": 1.5}, "compute.micro_batch must be int, got 1.5"),
        ({"workers": -2}, "compute.workers must be >= -1, got -2"),
    ],
)
def test_a_wrong_setting_is_named(values, message):
    with pytest.raises(ValueError, match="compute") as error:
        compute_from(values, "site.toml")
    assert message in str(error.value)
