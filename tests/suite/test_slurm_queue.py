import pytest

from mae_bench.commands.run import run_jobs
from mae_bench.core.site import Site
from mae_bench.suite.launch import cancel, queue_of
from mae_bench.suite.launch.queue import QueueEntry, Unanswered
from mae_bench.suite.launch.slurm.calls import environment
from mae_bench.suite.launch.slurm.ends import End, end_of, parsed_record, with_last_words
from mae_bench.suite.launch.slurm.queue import (
    Seen,
    active_by_key,
    entry,
    make_store_id,
    parsed,
    store_id,
    whose,
)
from mae_bench.suite.store import Store

# Of squeue 22.05, with another's job whose name holds the separator.
SQUEUE = """\
12|PENDING|Dependency||N/A|0|mae-0a1b2c3d-1123456789abcdef|
11|RUNNING|None|n1|2026-11-21T17:05:32|1|mae-0a1b2c3d-0123456789abcdef|
13|PENDING|BeginTime||2026-11-21T17:12:00|2|mae-0a1b2c3d-2123456789abcdef|
14|COMPLETING|TimeLimit|n[2-3]|2026-11-21T17:05:32|0|mae-0a1b2c3d-3123456789abcdef|
10|CANCELLED|DependencyNeverSatisfied||2026-11-21T17:10:00|0|mae-0a1b2c3d-0123456789abcdef|
15|RUNNING|None|n4|2026-11-21T17:05:32|0|mae-ffffffff-0123456789abcdef|
16|RUNNING|None|n4|2026-11-21T17:05:32|0|a|mae-0a1b2c3d-0123456789abcdef|
17|RUNNING|None|n4|2026-11-21T17:05:32|0|mae-0a1b2c3d-worker-09fcc1b2|
"""


def test_the_queue_tells_of_each_job_of_the_store_and_of_no_other():
    found = active_by_key(parsed(SQUEUE, "0a1b2c3d"))
    assert {key: entry(one) for key, one in found.items()} == {
        "0123456789abcdef": QueueEntry("11", "running", "", "n1", "2026-11-21T17:05:32"),
        "1123456789abcdef": QueueEntry("12", "queued", "Dependency", "", ""),
        "2123456789abcdef": QueueEntry("13", "retrying", "BeginTime", "", "2026-11-21T17:12:00"),
        "3123456789abcdef": QueueEntry(
            "14", "ending", "TimeLimit", "n[2-3]", "2026-11-21T17:05:32"
        ),
        "worker-09fcc1b2": QueueEntry("17", "running", "", "n4", "2026-11-21T17:05:32"),
    }


@pytest.mark.parametrize("text", ["", "\n", "squeue: warning\n", "a|b\n", "|" * 20])
def test_what_is_no_line_of_a_job_is_passed_over(text):
    assert parsed(text, "0a1b2c3d") == []


@pytest.mark.parametrize(
    ("text", "end", "words"),
    [
        ("COMPLETED|0:0\n", End("COMPLETED", ""), "COMPLETED"),
        ("FAILED|3:0\n", End("FAILED", "exit code 3"), "FAILED: exit code 3"),
        ("CANCELLED by 0|0:15\n", End("CANCELLED", "by root"), "CANCELLED by root"),
        ("NODE_FAIL|1:0\nTIMEOUT|0:0\n", End("TIMEOUT", ""), "TIMEOUT: its time was over"),
        ("OUT_OF_MEMORY|0:125\n", End("OUT_OF_MEMORY", ""), "raise slurm.memory"),
    ],
)
def test_the_newest_record_of_accounting_says_how_a_job_ended(text, end, words):
    assert parsed_record(text) == end
    assert words in str(end)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (End("COMPLETED"), "COMPLETED"),
        (End("CANCELLED"), "CANCELLED"),
        (End("CANCELLED", "by root"), "CANCELLED by root"),
        (End("FAILED", "NonZeroExitCode"), "FAILED: NonZeroExitCode"),
    ],
)
def test_an_end_without_a_reason_is_told_without_one(end, words):
    assert str(end) == words


@pytest.mark.parametrize(
    ("reason", "told"),
    [("Priority", ""), ("Resources", ""), ("DependencyNeverSatisfied", "DependencyNeverSatisfied")],
)
def test_what_a_job_waited_for_is_not_why_it_ended(tmp_path, monkeypatch, reason, told):
    monkeypatch.setenv("PATH", str(tmp_path))  # no accounting
    seen = Seen("7", "CANCELLED", reason, "", "", 0, "0123456789abcdef")
    assert end_of("7", [seen]) == End("CANCELLED", told)


def test_a_job_without_a_word_of_its_own_is_told_with_the_last_line_of_its_log(tmp_path):
    end = End("FAILED", "exit code 255")
    assert with_last_words(end, tmp_path) == "FAILED: exit code 255"
    (tmp_path / "log.txt").write_text("starting\nFATAL: no image\n\n")
    told = "FAILED: exit code 255; its last words: FATAL: no image"
    assert with_last_words(end, tmp_path) == told


@pytest.mark.parametrize(("mode", "options"), [(0o755, ("--me",)), (0o775, ()), (0o2777, ())])
def test_everybodys_jobs_are_looked_at_only_where_others_can_submit(tmp_path, mode, options):
    tmp_path.chmod(mode)
    assert whose(tmp_path) == options


@pytest.mark.parametrize(
    "text", ["", "PENDING|0:0\n", "NODE_FAIL|1:0\nRUNNING|0:0\n", "REQUEUED|0:0"]
)
def test_a_job_that_accounting_has_not_seen_end_has_no_end(text):
    assert parsed_record(text) is None


def test_a_store_from_which_nothing_was_submitted_has_no_queue_without_slurm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert queue_of(Site(), Store(tmp_path)) == {}
    assert cancel(Site(), Store(tmp_path), ["0123456789abcdef"]) == {}


def test_a_queue_that_cannot_be_asked_is_told_from_an_empty_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    make_store_id(tmp_path)
    with pytest.raises(Unanswered, match="squeue is not installed here, or not on PATH"):
        queue_of(Site(), Store(tmp_path))


def test_a_run_on_slurm_where_there_is_none_says_what_to_do(monkeypatch, build_suite, ground_of):
    ground = ground_of(build_suite())
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ValueError, match=r"needs sbatch and squeue, not found on PATH; run it on"):
        run_jobs(ground, 1, "slurm")


def test_a_store_keeps_its_id_and_a_damaged_one_is_named(tmp_path):
    made = make_store_id(tmp_path)
    assert make_store_id(tmp_path) == store_id(tmp_path) == made
    (tmp_path / "store.id").write_text("../../x")
    with pytest.raises(ValueError, match=r"store\.id must hold 8 hex digits"):
        store_id(tmp_path)


def test_what_slurm_set_in_a_job_does_not_reach_the_jobs_submitted_from_it(monkeypatch):
    for name in ("SLURM_JOB_ID", "SBATCH_TIMELIMIT", "SQUEUE_FORMAT", "SLURM_CPUS_PER_TASK"):
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("SBATCH_ACCOUNT", "lab")
    monkeypatch.setenv("SLURM_CONF", "/x")
    left = {k: v for k, v in environment().items() if k.startswith(("SL", "SB", "SQ"))}
    assert left == {"SBATCH_ACCOUNT": "lab", "SLURM_CONF": "/x"}
