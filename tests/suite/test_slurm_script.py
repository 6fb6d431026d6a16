import subprocess

import pytest

from mae_bench.core.compute import Compute
from mae_bench.core.owner import this_process
from mae_bench.core.slurm import Slurm, slurm_from
from mae_bench.core.turns import take
from mae_bench.suite.launch.slurm.asked import asked_by, compute_by
from mae_bench.suite.launch.slurm.script import Asked, script

ASKED = Asked("mae-0a1b2c3d-0123456789abcdef", "MAE", 1, 8, Slurm(), ("/env/bin/python", "-m", "x"))
AWKWARD = "a\n#SBATCH --wrap=touch\n$(touch canary); `touch canary` ' \" \\ % é \u2028 \0"


def options_in(text):
    """Return the options that sbatch reads: lines that begin so, up to the first command."""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    return [line.removeprefix("#SBATCH ") for line in lines[:first] if line.startswith("#SBATCH")]


def asked_with(gpus=8, nodes=1, **values):
    return Asked(ASKED.name, "MAE", nodes, gpus, Slurm(**values), ASKED.command)


def test_a_job_asks_for_what_every_start_needs_and_leaves_the_rest_to_the_cluster(tmp_path):
    assert options_in(script(ASKED, tmp_path)) == [
        "--job-name=mae-0a1b2c3d-0123456789abcdef",
        "--output=log.txt",
        "--open-mode=append",
        "--requeue",
        "--signal=USR2@120",
        "--nodes=1",
        "--ntasks-per-node=1",
        "--gres=gpu:8",
    ]


def test_everything_that_the_site_says_becomes_an_option_in_its_place(tmp_path):
    asked = asked_with(
        nodes=2,
        partition="gpu",
        account="lab",
        qos="high",
        constraint="a100&ib",
        time="24:00:00",
        gres="gpu:a100",
        cpus_per_gpu=12,
        memory="400G",
        notice_s=300,
        setup=("module load cuda", "ulimit -n 4096"),
        extra=("--exclude=n3", "--comment='two words'"),
    )
    text = script(asked, tmp_path)
    assert options_in(text)[4:] == [
        "--signal=USR2@300",
        "--nodes=2",
        "--ntasks-per-node=1",
        "--partition=gpu",
        "--account=lab",
        "--qos=high",
        "--constraint=a100&ib",
        "--time=24:00:00",
        "--gres=gpu:a100:8",
        "--cpus-per-task=96",
        "--mem=400G",
        "--exclude=n3",
        "--comment='two words'",
    ]
    assert "\nmodule load cuda\nulimit -n 4096\nset +eu\n" in text
    assert "\nsrun --kill-on-bad-exit=1 --cpus-per-task=96 bash" in text


def test_a_cluster_without_gpus_to_ask_for_is_asked_for_none(tmp_path):
    assert "gres" not in script(asked_with(gres=""), tmp_path)


@pytest.mark.parametrize("name", ["plain", "a % b", "a\\b"])
def test_signs_that_slurm_replaces_in_paths_are_kept_from_it(tmp_path, name):
    text = script(ASKED, tmp_path / name)
    plain = name == "plain"
    assert ("--output=log.txt" in options_in(text)) == plain
    assert ("--output=/dev/null" in options_in(text)) == ("exec >>log.txt 2>&1" in text) != plain


def test_a_label_stays_within_its_comment(tmp_path):
    plain = script(ASKED, tmp_path)
    awkward = Asked(ASKED.name, AWKWARD, 1, 8, Slurm(), ASKED.command)
    lines = script(awkward, tmp_path).split("\n")
    assert lines[1].startswith("# mae-bench: ")
    assert lines[:1] + lines[2:] == plain.split("\n")[:1] + plain.split("\n")[2:]
    assert lines[1].isascii()
    assert lines[1].isprintable()


def test_the_script_is_bash_and_passes_every_word_of_the_command_on(tmp_path):
    """srun is stood for by a program that runs what it is given here, scontrol by none."""
    words = ("printf", "%s|", "a b", "$HOME", "it's", 'say "x"', "back\\slash", "*")
    asked = Asked(ASKED.name, "MAE", 1, 8, Slurm(container="env -u NONE"), words)
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/bash\nshift\nexec "$@"\n')
    srun.chmod(0o755)
    (tmp_path / "job.sbatch").write_text(script(asked, tmp_path))
    answer = subprocess.run(
        ["bash", "job.sbatch"],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_NNODES": "1", "SLURM_JOB_ID": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout == 'a b|$HOME|it\'s|say "x"|back\\slash|*|'


def stood_for(folder, srun, scontrol="exit 1"):
    """Return a folder with programs that stand for SLURM's, which a test runs the script with."""
    folder.mkdir(exist_ok=True)
    for name, text in {"srun": srun, "scontrol": scontrol}.items():
        path = folder / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)
    return folder


def run_script(asked, folder, programs, cwd=None, **environment):
    """Return how the script of a job in a folder ends."""
    (folder / "job.sbatch").write_text(script(asked, folder))
    path = {"PATH": f"{programs}:/usr/bin:/bin", "SLURM_JOB_ID": "7", "SLURM_NNODES": "1"}
    return subprocess.run(
        ["bash", folder / "job.sbatch"],
        cwd=cwd or folder,
        env=path | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


@pytest.mark.parametrize("code", [0, 3, 75, 76, 137, 255])
def test_the_script_ends_with_the_code_of_a_job_that_took_no_attempt(tmp_path, code):
    calls = tmp_path / "calls"
    programs = stood_for(tmp_path / "bin", f"exit {code}", f"echo $* >> {calls}")
    assert run_script(ASKED, tmp_path, programs).returncode == code
    assert not calls.exists()


@pytest.mark.parametrize(("start", "asks_again"), [("slurm/7/0", True), ("slurm/7/1", False)])
def test_only_a_start_that_took_an_attempt_asks_for_another(tmp_path, start, asks_again):
    take(tmp_path / "attempts", 0, this_process(start))
    calls = tmp_path / "calls"
    scontrol = f'echo "$*" >> {calls}; echo "JobState=RUNNING Restarts=0 Requeue=1"'
    programs = stood_for(tmp_path / "bin", "exit 255", scontrol)
    assert run_script(ASKED, tmp_path, programs).returncode == 255
    assert (calls.exists() and "requeue 7" in calls.read_text()) == asks_again


AWAY = "set -eu; trap 'exit 9' TERM USR2; start=x; cd /"


def test_what_setup_does_to_its_shell_does_not_reach_the_job(tmp_path):
    folder = tmp_path / "a 'folder' $(touch canary)"
    folder.mkdir()
    programs = stood_for(tmp_path / "bin", 'shift; "$@"; exit 255')
    asked = Asked("name", "MAE", 1, 1, Slurm(setup=(AWAY,)), ("pwd",))
    answer = run_script(asked, folder, programs, cwd="/")
    assert (answer.returncode, answer.stdout) == (255, f"{folder}\n"), answer.stderr
    assert not list(tmp_path.rglob("canary"))


def test_a_node_without_the_folder_runs_nothing(tmp_path):
    programs = stood_for(tmp_path / "bin", "echo ran")
    text = script(ASKED, tmp_path / "gone")
    (tmp_path / "job.sbatch").write_text(text)
    answer = subprocess.run(
        ["bash", "job.sbatch"],
        cwd=tmp_path,
        env={"PATH": f"{programs}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1
    assert "mae-bench: no folder of the job on " in answer.stdout
    assert "ran" not in answer.stdout


def test_variables_of_another_training_stay_out_and_those_of_setup_do_not(tmp_path):
    programs = stood_for(tmp_path / "bin", 'shift; exec "$@"')
    left = {"RANK": "3", "WORLD_SIZE": "8", "MASTER_PORT": "1", "TORCHELASTIC_RUN_ID": "x"}
    asked = Asked("name", "MAE", 1, 1, Slurm(setup=("export MASTER_ADDR=n1",)), ("env",))
    answer = run_script(asked, tmp_path, programs, SLURM_EXPORT_ENV="NONE", **left)
    found = dict(line.split("=", 1) for line in answer.stdout.splitlines())
    assert not {*left, "SLURM_EXPORT_ENV"} & found.keys()
    assert found["MASTER_ADDR"] == "n1"
    assert found["MAE_BENCH_START"] == "slurm/7/0"


def test_a_job_gets_the_nodes_and_gpus_of_its_recipe(build_suite, ground_of):
    table = slurm_from({"gpus_per_node": 4, "mae": {"nodes": 2}}, "site.toml")
    ground = ground_of(build_suite(), slurm=table, compute=Compute(gpus=2, precision="bf16"))
    counting, reading = ground.plan.jobs
    asked = asked_by(reading, ground, "0a1b2c3d")
    assert asked.name == f"mae-0a1b2c3d-{reading.key}"
    assert asked.command[1:] == ("-m", "mae_bench.suite.execute", ".")
    assert (asked.nodes, asked.gpus) == (1, 1)  # trial recipes train nothing
    assert compute_by(counting, ground) == Compute(gpus=1, precision="bf16")
