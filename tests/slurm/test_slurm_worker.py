"""A worker is looked at before the first job starts, once for the same settings."""

import shutil
import sys

from trial import ROOT, Trial, program


def python_with_other_code(folder):
    """Return an interpreter whose mae-bench differs by a comment."""
    for name in ("mae_bench", "pretrain", "transfer"):
        shutil.copytree(ROOT / name, folder / "code" / name)
    with (folder / "code" / "mae_bench" / "__init__.py").open("a") as stream:
        stream.write("# changed\n")
    recipes = ROOT / "tests" / "suite" / "recipes"
    text = f'export PYTHONPATH="{folder}/code:{recipes}"; exec {sys.executable} "$@"'
    return program(folder / "bin", "python", text) / "python"


def test_a_worker_with_other_code_starts_no_job_until_that_is_mended(cluster, tmp_path):
    python = python_with_other_code(tmp_path)
    trial = Trial(tmp_path / "runs", {"A": {}}, {"python": str(python)}, {})
    code, said = trial.run()
    assert code == 1
    assert "blocked   A · counting · seed 0: a worker is not as it should be: its code: " in said
    assert "on the login node" in said
    assert "blocked   A · reading · seed 0" in said
    assert not list(trial.store.glob("*/attempts"))
    assert not cluster.ask("squeue", "--noheader")
    mended = tmp_path / "code" / "mae_bench" / "__init__.py"
    mended.write_text((ROOT / "mae_bench" / "__init__.py").read_text())
    code, said = trial.run()
    assert code == 0, said
    assert "looked at a worker: " in said


def test_a_worker_that_was_found_fine_is_not_looked_at_again(cluster, tmp_path):
    first = Trial(tmp_path / "runs", {"A": {}}, {}, {})
    code, said = first.run()
    assert (code, said.count("looked at a worker")) == (0, 1), said
    more = Trial(tmp_path / "runs", {"A": {}, "B": {"steps": 2}}, {}, {})
    code, said = more.run()
    assert (code, said.count("looked at a worker")) == (0, 0), said
    assert sum(name.startswith("worker-") for name in more.submitted(cluster)) == 1


def test_a_worker_whose_python_does_not_start_is_told_with_its_log(cluster, tmp_path):
    trial = Trial(tmp_path / "runs", {"A": {}}, {"python": "/nowhere/python"}, {})
    code, said = trial.run()
    assert code == 1
    assert "a worker is not as it should be: FAILED" in said
    (log,) = trial.store.glob("workers/*/log.txt")
    assert str(log) in said
    assert "/nowhere/python" in log.read_text()


def test_options_that_the_cluster_does_not_have_are_told_in_its_words(cluster, tmp_path):
    trial = Trial(tmp_path / "runs", {"A": {}}, {"partition": "none", "check_worker": False}, {})
    code, said = trial.run()
    assert code == 1
    assert "sbatch refused it: " in said
    assert "invalid partition" in said.lower()
    assert "blocked   A · reading · seed 0" in said
