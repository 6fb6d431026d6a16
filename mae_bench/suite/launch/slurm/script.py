"""The text of job.sbatch: one job as SLURM is asked for it, readable by a person."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mae_bench.core.slurm import Slurm
from mae_bench.suite.store import LOG

SBATCH = "job.sbatch"
LAUNCH = """\
cd "$1" || exit 1
shift
export MAE_BENCH_NODES=$SLURM_NNODES MAE_BENCH_NODE=$SLURM_NODEID
export MAE_BENCH_START=slurm/$SLURM_JOB_ID/${SLURM_RESTART_COUNT:-0}
exec "$@\""""
BODY = """
# SLURM starts a job elsewhere where the node has no such folder.
enter() {{ cd {folder} || {{ echo "mae-bench: no folder of the job on $(hostname)"; exit 1; }}; }}
enter
{output}# What the shell that submitted it had set for ranks of its own.
unset RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE GROUP_RANK GROUP_WORLD_SIZE ROLE_RANK ROLE_NAME
unset ROLE_WORLD_SIZE MASTER_ADDR MASTER_PORT ${{!TORCHELASTIC_@}}
unset MAE_BENCH_ATTEMPT MAE_BENCH_PARENT
{setup}set +eu
enter
unset SLURM_EXPORT_ENV  # else srun would leave out what setup has set

job() {{ scontrol show job -o "$SLURM_JOB_ID"; }}
# Only a start that got as far as to take an attempt may ask for another one.
this=slurm/$SLURM_JOB_ID/${{SLURM_RESTART_COUNT:-0}}
begun() {{ grep -qsF "\\"$this\\"" attempts/*/owner.json; }}
# A copy on a node that SLURM has given up must not ask for a start of the one that follows it.
start="Restarts=${{SLURM_RESTART_COUNT:-0}}"
# At the end of its time, a job that could not save itself is started again by hand.
over() {{
  case $(job) in *Reason=TimeLimit*" $start "*) begun && scontrol requeue "$SLURM_JOB_ID" ;; esac
}}
# This shell outlives signals, to ask for the next start of a job that was told to stop.
trap over TERM
trap : USR2
srun --kill-on-bad-exit=1 {options}bash -c '
{launch}
' mae-bench {folder} {command} &
wait $!; code=$?
while kill -0 $! 2>/dev/null; do wait $!; done
wait $!; last=$?
if [ $last -ne 127 ]; then code=$last; fi

# 75: stopped, to be started again. Above 128: killed. Else the job's own files say how it ended.
if [ $code -ne 75 ] && [ $code -le 128 ] || [ -e failure.json ] || ! begun; then exit $code; fi
for _ in $(seq 60); do
  # Cancelled by a person or preempted: SLURM itself knows what comes next.
  state=$(job) && case $state in
    *JobState=RUNNING*" $start "*) scontrol requeue "$SLURM_JOB_ID" && exit $code ;;
    *) exit $code ;;
  esac
  sleep 10
done
exit $code
"""


@dataclass(frozen=True)
class Asked:
    """What one job asks the cluster for."""

    name: str
    """In the queue; made of letters, digits and dashes."""
    label: str
    """For people; anything may stand in it."""
    nodes: int
    gpus: int
    """On each node."""
    slurm: Slurm
    command: tuple[str, ...]
    """What each node starts, in the job's folder."""


def script(asked: Asked, folder: Path) -> str:
    """Return the text of the sbatch file of a job in that folder."""
    slurm = asked.slurm
    output = output_in(folder)
    cpus = asked.gpus * slurm.cpus_per_gpu
    command = [*shlex.split(slurm.container), *asked.command]
    body = BODY.format(
        folder=shlex.quote(str(folder.absolute())),
        output="" if output == LOG else f"exec >>{LOG} 2>&1\n",
        setup="".join(f"{line}\n" for line in slurm.setup),
        options=f"--cpus-per-task={cpus} " if cpus else "",  # srun does not take sbatch's
        launch=LAUNCH,
        command=shlex.join(command),
    )
    head = ["#!/bin/bash", f"# mae-bench: {json.dumps(asked.label)}"]
    return "\n".join([*head, *(f"#SBATCH {option}" for option in options(asked, output)), body])


def output_in(folder: Path) -> str:
    """Return where SLURM writes what a job in that folder prints, its own words with it.

    It takes signs of the whole path for the job's number and name; there, only the job writes.
    """
    return "/dev/null" if set("%\\") & set(str(folder.resolve())) else LOG


def options(asked: Asked, output: str) -> Sequence[str]:
    """Return the options of sbatch that stand in the file."""
    slurm = asked.slurm
    cpus = asked.gpus * slurm.cpus_per_gpu
    given = {
        "partition": slurm.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "constraint": slurm.constraint,
        "time": slurm.time,
        "gres": f"{slurm.gres}:{asked.gpus}" if slurm.gres else "",
        "cpus-per-task": str(cpus) if cpus else "",
        "mem": slurm.memory,
    }
    return [
        f"--job-name={asked.name}",
        f"--output={output}",
        "--open-mode=append",
        "--requeue",
        f"--signal=USR2@{slurm.notice_s}",
        f"--nodes={asked.nodes}",
        "--ntasks-per-node=1",
        *(f"--{name}={value}" for name, value in given.items() if value),
        *slurm.extra,
    ]
