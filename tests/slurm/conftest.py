from pathlib import Path

import pytest
from real_cluster import running


def pytest_collection_modifyitems(items):
    """Mark every test of this folder: they run only where a cluster can be started."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("slurm")


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory):
    """One cluster of four nodes for all tests; `cluster` hands it out tidy."""
    with running(tmp_path_factory.mktemp("slurm"), KILL_WAIT="2") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def shared_accounting_cluster(tmp_path_factory):
    with running(tmp_path_factory.mktemp("slurmdbd"), num_nodes=2, WITH_DBD="1") as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster, monkeypatch):
    """Return a real cluster of the nodes n1 to n4 without jobs; SLURM's commands speak to it.

    Its partitions: main (the default), preemptible (30 s from notice to kill), hasty (none), and
    urgent, whose jobs preempt those of the two.
    """
    monkeypatch.setenv("SLURM_CONF", str(shared_cluster.conf))
    yield shared_cluster
    shared_cluster.tidy()


@pytest.fixture
def accounting_cluster(shared_accounting_cluster, monkeypatch):
    """Return a cluster of two nodes with slurmdbd, for sacct and sacctmgr; else like `cluster`."""
    monkeypatch.setenv("SLURM_CONF", str(shared_accounting_cluster.conf))
    yield shared_accounting_cluster
    shared_accounting_cluster.tidy()
