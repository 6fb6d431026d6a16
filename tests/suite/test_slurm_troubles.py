import json

from mae_bench.core.files import write_json
from mae_bench.core.slurm import Slurm
from mae_bench.suite.launch.slurm.check import Check
from mae_bench.suite.launch.slurm.troubles import troubles


def look_at_worker(root, name, **found):
    """Leave a look at a worker in the store, asked for after all others."""
    check = Check(root, {"name": name}, Slurm())
    write_json(check.prepare() / "submission.json", {"id": "7"})
    if found:
        write_json(check.folder / "found.json", found)
    return check


def test_a_failed_look_at_a_worker_is_seen_in_status_until_one_passes(
    build_suite, ground_of, call, tmp_path
):
    ground = ground_of(build_suite())
    ground.store.prepare(ground.plan.jobs[0], None)
    failed = look_at_worker(tmp_path / "runs", "old", problems=["torch: 1 here, 2 there"])
    told = "a worker is not as it should be: torch: 1 here, 2 there"
    assert told in call("status").lines
    assert json.loads(call("status", "--json").out)["notes"] == [told]
    (failed.folder / "log.txt").write_text("more\n")
    assert f"{told}; see {failed.folder / 'log.txt'}" in call("status").lines
    look_at_worker(tmp_path / "runs", "new", problems=[])
    assert json.loads(call("status", "--json").out)["notes"] == []


def test_a_look_without_an_answer_is_a_trouble_once_it_left_the_queue(tmp_path):
    check = look_at_worker(tmp_path, "dead")
    assert troubles(tmp_path, [], {check.key}) == []
    (check.folder / "log.txt").write_text("FATAL: no image\n")
    (line,) = troubles(tmp_path, [], set())
    assert "it ended without an answer; its last words: FATAL: no image; see " in line


def test_jobs_that_were_refused_are_counted_by_reason_unless_they_are_queued(tmp_path):
    for key, why in {"a": "no partition", "b": "no partition", "c": "no account"}.items():
        (tmp_path / key).mkdir()
        write_json(tmp_path / key / "submission.json", {"id": "", "refused": why})
    assert troubles(tmp_path, "abc", {"c"}) == ["sbatch refused 2 jobs: no partition"]
