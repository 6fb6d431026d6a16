"""The cluster that the other tests of this folder stand on does what they take for granted."""

from real_cluster import wait_for

SLEEPER = "#!/bin/bash\n#SBATCH --requeue --open-mode=append\nsrun sleep 600\n"


def sleepers(cluster, job, node=None):
    return [p for p in cluster.processes(job, node) if p.command.endswith("/sleep 600")]


def test_a_job_of_two_nodes_runs_on_two_of_them_and_is_cancelled(cluster, tmp_path):
    job = cluster.submit(SLEEPER, "--nodes=2", cwd=tmp_path)
    cluster.wait_state(job, "RUNNING")
    nodes = cluster.nodes_of(job)
    assert len(nodes) == 2
    for node in nodes:
        wait_for(lambda node=node: sleepers(cluster, job, node))
    cluster.ask("scancel", job)
    cluster.wait_state(job, "CANCELLED")
    wait_for(lambda: not cluster.processes(job))


def test_a_job_of_a_crashed_node_is_requeued_by_the_controller_itself(cluster, tmp_path):
    job = cluster.submit(SLEEPER, "--nodelist=n3", cwd=tmp_path)
    wait_for(lambda: sleepers(cluster, job, "n3"))
    cluster.crash("n3")
    assert not cluster.processes(job)
    cluster.lose("n3")
    cluster.wait_state(job, "PENDING")
    assert cluster.job(job)["Restarts"] == "1"


def test_processes_of_a_lost_node_can_live_on(cluster, tmp_path):
    job = cluster.submit(SLEEPER, "--nodelist=n2", cwd=tmp_path)
    wait_for(lambda: sleepers(cluster, job, "n2"))
    cluster.kill_daemons("n2")
    cluster.lose("n2")
    cluster.wait_state(job, "PENDING")
    assert sleepers(cluster, job, "n2")


def test_accounting_names_the_end_of_a_job(accounting_cluster, tmp_path):
    job = accounting_cluster.submit("#!/bin/bash\nexit 3\n", cwd=tmp_path)
    accounting_cluster.wait_state(job, "FAILED")
    asked = ("sacct", "-n", "-X", "-j", job, "-o", "state,exitcode")
    wait_for(lambda: "FAILED" in accounting_cluster.ask(*asked))  # it may be late
    assert accounting_cluster.ask(*asked).split() == ["FAILED", "3:0"]
