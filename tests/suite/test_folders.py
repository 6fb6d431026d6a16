import os
import subprocess
import sys

from mae_bench.commands.run import run_jobs


def test_folders_made_for_another_scheduler_run_in_the_order_told(build_suite, ground_of, capsys):
    ground = ground_of(build_suite({"Good": {}}, {"reading": {}, "needs_detectron2": {}}))
    counting, reading, _ = ground.plan.jobs
    assert not run_jobs(ground, 1, "prepared")
    told = [line.split() for line in capsys.readouterr().out.splitlines() if "prepared  " in line]
    assert [words[1] for words in told] == [job.key for job in ground.plan.jobs]
    assert told[1][2:4] == ["after", counting.key]
    assert {ground.store.state(job).name for job in ground.plan.jobs} == {"partial"}
    for job in (counting, reading):
        command = [sys.executable, "-m", "mae_bench.suite.execute", ground.store.dir(job)]
        assert subprocess.run(command, env=os.environ, check=False).returncode == 0
        assert ground.store.result(job) is not None
    assert not run_jobs(ground, 1, "prepared")  # what is done is not made again
    assert counting.key not in capsys.readouterr().out


def test_blocked_jobs_are_not_made_for_another_scheduler(build_suite, ground_of):
    ground = ground_of(build_suite({"Good": {}}, {"reading": {}}))
    counting, reading = ground.plan.jobs
    ground.blocked[reading.key] = "no data"
    assert run_jobs(ground, 1, "prepared") == {reading.key: "blocked: no data"}
    assert ground.store.dir(counting).is_dir()
    assert not ground.store.dir(reading).exists()


def test_a_job_whose_encoder_is_not_made_yet_waits_to_be_started_again(build_suite, ground_of):
    ground = ground_of(build_suite({"Good": {}}, {"reading": {}}))
    counting, reading = ground.plan.jobs
    run_jobs(ground, 1, "prepared")
    command = [sys.executable, "-m", "mae_bench.suite.execute"]
    early = subprocess.run(
        [*command, ground.store.dir(reading)], capture_output=True, text=True, check=False
    )
    assert early.returncode == 75
    assert f"its encoder is not done yet: {counting.key}" in early.stdout
    assert [path.name for path in ground.store.dir(reading).glob("*[!.json]")] == []
    for words in ([], [ground.store.root]):
        wrong = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
        assert wrong.returncode == 2
        assert "usage: " in wrong.stdout
