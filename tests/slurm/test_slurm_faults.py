"""Faults that a cluster brings to a job: what it loses, and that its result stays the same."""

import pytest
import torch
from training_job import MODEL, prepared, submitted

from mae_bench.core.demo_data import DemoData, demo_roots
from mae_bench.kit.scene_files import make_demo
from mae_bench.suite.execute import execute

URGENT = "#!/bin/bash\ntrue\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "demo"
    sizes = DemoData(num_train_images=64, num_val_images=16, num_train_scenes=8, num_val_scenes=8)
    make_demo(root, sizes)
    return demo_roots(root)["imagenet"]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory, data):
    """Return the weights of a run that nothing disturbed, on two ranks."""
    from safetensors.torch import load_file

    folder = prepared(tmp_path_factory.mktemp("quiet"), data, MODEL, 2)
    assert execute(folder) == 0
    return load_file(folder / "encoder.safetensors")


@pytest.fixture
def start(cluster, data, tmp_path):
    """Return a function: nodes, options of sbatch -> a submitted training on two ranks."""

    def start(nodes, *options):
        folder = prepared(tmp_path / f"on {nodes} nodes", data, MODEL, 2)
        return submitted(cluster, folder, nodes, *options)

    return start


def assert_same(job, quiet):
    found = job.weights()
    assert found.keys() == quiet.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in quiet.items())


def test_preempted_on_one_and_on_two_nodes_it_saves_and_ends_with_the_same_weights(
    cluster, start, quiet
):
    jobs = [start(nodes, "--partition=preemptible") for nodes in (1, 2)]
    for job in jobs:
        job.wait_steps()
    urgent = cluster.submit(
        URGENT, "--partition=urgent", "--nodes=4", "--exclusive", cwd=jobs[0].folder
    )
    cluster.wait_state(urgent, "COMPLETED")
    for job in jobs:
        job.wait_end()
        assert job.outcomes == ["stopped", "done"]
        assert [attempt.start["lost"] for attempt in job.attempts] == [0, 0]
        assert len(job.steps_saved()) == 1
        assert job.steps_resumed() == job.steps_saved()
        assert cluster.job(job.id)["Restarts"] == "1"
        assert_same(job, quiet)
