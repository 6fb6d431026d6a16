"""A real SLURM cluster of several nodes on this machine, and what tests do to it."""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

SCRIPTS = Path(__file__).parents[1] / "data" / "slurm"
NEEDED = ("sbatch", "slurmctld", "slurmd", "munged", "setpriv")
NEEDED_FOR_ACCOUNTS = ("slurmdbd", "mariadbd", "sacctmgr")
LIMIT_S = 60.0
POLL_S = 0.05
Found = TypeVar("Found")


@dataclass(frozen=True)
class Process:
    """A process of a job, as the operating system shows it."""

    pid: int
    environment: dict[str, str]
    command: str

    @property
    def lives(self) -> bool:
        """Whether it has not ended yet."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def freeze(self) -> None:
        """Let it do nothing more, not even end, until it is killed."""
        os.kill(self.pid, signal.SIGSTOP)


@dataclass(frozen=True)
class Cluster:
    """A running cluster: its folder holds configuration, logs and process ids."""

    folder: Path
    num_nodes: int

    @property
    def conf(self) -> Path:
        """What SLURM_CONF is for this cluster."""
        return self.folder / "slurm.conf"

    def ask(self, *command: str | Path, text: str | None = None, cwd: Path | None = None) -> str:
        """Return what one of SLURM's commands prints; AssertionError with its error message."""
        answer = subprocess.run(
            command,
            env=os.environ | {"SLURM_CONF": str(self.conf)},
            cwd=cwd,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert answer.returncode == 0, f"{command}: {answer.stderr}"
        return answer.stdout

    def submit(self, script: str, *options: str, cwd: Path) -> str:
        """Submit a script from a folder and return the job's id."""
        return self.ask("sbatch", "--parsable", *options, text=script, cwd=cwd).strip()

    def job(self, job_id: str) -> dict[str, str]:
        """Return what `scontrol show job` says now: JobState, Reason, Restarts, BatchHost, ..."""
        said = self.ask("scontrol", "--oneliner", "show", "job", job_id)
        return dict(re.findall(r"(\S+?)=(\S*)", said))

    def wait_state(self, job_id: str, *states: str, limit_s: float = LIMIT_S) -> dict[str, str]:
        """Return what is said of the job as soon as it is in one of the states."""

        def reached() -> dict[str, str] | None:
            now = self.job(job_id)
            return now if now["JobState"] in states else None

        return wait_for(reached, limit_s, lambda: f"{self.job(job_id)}\n{self.logs()}")

    def wait_restarts(self, job_id: str, restarts: int, limit_s: float = LIMIT_S) -> dict[str, str]:
        """Return what is said of the job as soon as it runs after that many restarts."""

        def again() -> dict[str, str] | None:
            now = self.job(job_id)
            runs = now["JobState"] == "RUNNING" and int(now["Restarts"]) >= restarts
            return now if runs else None

        return wait_for(again, limit_s, lambda: f"{self.job(job_id)}\n{self.logs()}")

    def processes(self, job_id: str, node: str | None = None) -> list[Process]:
        """Return the live processes of a job, on one node or on all; not SLURM's own."""
        wanted = {"SLURM_JOB_ID": job_id, "SLURM_CONF": str(self.conf)}
        if node is not None:
            wanted["SLURMD_NODENAME"] = node
        return [p for p in live() if all(p.environment.get(k) == v for k, v in wanted.items())]

    def crash(self, node: str) -> None:
        """Let a node vanish as if its power were cut: daemon, steps and all their processes."""
        self.kill_daemons(node)
        for process in live():
            if (
                process.environment.get("SLURM_CONF"),
                process.environment.get("SLURMD_NODENAME"),
            ) == (str(self.conf), node):
                kill(process.pid)

    def kill_daemons(self, node: str) -> None:
        """Kill what SLURM has on a node; the jobs' processes live on, out of its sight."""
        kill(int((self.folder / "run" / f"slurmd.{node}.pid").read_text()))
        for pid in self._step_daemons(node):
            kill(pid)

    def _step_daemons(self, node: str) -> list[int]:
        """Return the ids of the step daemons of one node: they write to its log."""
        log = self.folder / "log" / f"slurmd.{node}.log"
        return [p.pid for p in live() if "slurmstepd" in p.command and log in _open_files(p.pid)]

    def lose(self, node: str) -> None:
        """Let the controller believe a node dead at once, as it would after its timeout."""
        self.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")

    def bring_back(self, node: str) -> None:
        """Start a node's daemon if it is gone, and wait until the node takes jobs."""
        pid_file = self.folder / "run" / f"slurmd.{node}.pid"
        if not Path(f"/proc/{pid_file.read_text().strip()}").exists():
            self.ask("slurmd", "-N", node, "-f", self.conf)
        with contextlib.suppress(AssertionError):  # it is no longer down
            self.ask("scontrol", "update", f"nodename={node}", "state=resume")
        wait_for(
            lambda: self.node_state(node) == "idle",
            LIMIT_S,
            lambda: f"{node} is {self.node_state(node)}\n{self.ask('squeue')}\n{self.logs()}",
        )

    def node_state(self, node: str) -> str:
        """Return a node's state in one word, such as idle, mixed or down."""
        return self.ask("sinfo", "-h", "-n", node, "-p", "main", "-o", "%T").strip().rstrip("*")

    def nodes_of(self, job_id: str) -> list[str]:
        """Return the names of the nodes that a job runs on."""
        names = self.job(job_id)["NodeList"]
        return self.ask("scontrol", "show", "hostnames", names).split()

    def tidy(self) -> None:
        """Cancel all jobs, and wait until every node takes jobs again."""
        self.ask("scancel", "--user", "root")
        for number in range(1, self.num_nodes + 1):
            self.bring_back(f"n{number}")

    def logs(self) -> str:
        """Return the ends of the daemons' logs, for the message of a failed test."""
        ends = [
            f"--- {path.name}\n" + "\n".join(path.read_text().splitlines()[-8:])
            for path in sorted((self.folder / "log").glob("slurm*.log"))
        ]
        return "\n".join(ends)


@contextmanager
def running(folder: Path, num_nodes: int = 4, **settings: str) -> Iterator[Cluster]:
    """Start a cluster in an empty folder and end it after the block; RuntimeError if it cannot.

    `settings` are variables of start-slurm.sh, such as WITH_DBD="1".
    """
    _check_machine(settings)
    cluster = Cluster(folder, num_nodes)
    base = free_ports(num_nodes + 4)
    ports = {
        "BASE_PORT": base + 1,
        "DB_PORT": base + num_nodes + 2,
        "DBD_PORT": base + num_nodes + 3,
    }
    environment = os.environ | {k: str(v) for k, v in ports.items()} | settings
    command = ["bash", SCRIPTS / "start-slurm.sh", folder, str(num_nodes)]
    with (folder / "start.log").open("w+") as log:  # no pipe: daemons would keep it open
        try:
            code = subprocess.run(
                command, env=environment, stdout=log, stderr=log, check=False, timeout=120
            ).returncode
            if code != 0:
                log.seek(0)
                raise RuntimeError(f"the SLURM cluster did not start: {log.read()}")
            yield cluster
        finally:
            stop = ["bash", SCRIPTS / "stop-slurm.sh", folder]
            subprocess.run(stop, stdout=log, stderr=log, check=False, timeout=120)
            for process in live():  # of nodes that tests took away
                if process.environment.get("SLURM_CONF") == str(cluster.conf):
                    kill(process.pid)


def free_ports(count: int) -> int:
    """Return a port that is free together with those after it, below the ephemeral ones."""
    numbers = random.SystemRandom()
    while True:
        base = numbers.randrange(12000, 32000)
        with contextlib.ExitStack() as held:
            try:
                for port in range(base, base + count):
                    held.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return base


def live() -> list[Process]:
    """Return the live processes of this machine whose environment can be read."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with contextlib.suppress(OSError, ValueError):
                if (path / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    continue
                words = (path / "environ").read_bytes().decode(errors="replace").split("\0")
                environment = dict(word.split("=", 1) for word in words if "=" in word)
                command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                found.append(Process(int(path.name), environment, command))
    return found


def kill(pid: int) -> None:
    """Send SIGKILL to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_for(
    condition: Callable[[], Found], limit_s: float = LIMIT_S, story: Callable[[], str] = str
) -> Found:
    """Return what the condition gives as soon as that is true; AssertionError with the story."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(POLL_S)
    raise AssertionError(f"it did not happen in {limit_s} s: {story()}")


def _check_machine(settings: dict[str, str]) -> None:
    """Raise RuntimeError unless a cluster can be started here."""
    needed = NEEDED + (NEEDED_FOR_ACCOUNTS if settings.get("WITH_DBD") == "1" else ())
    missing = [name for name in needed if shutil.which(name) is None]
    if missing:
        raise RuntimeError(f"no {', '.join(missing)} here; `make test-slurm` installs SLURM")
    if os.getuid() != 0:
        raise RuntimeError(f"SLURM's daemons need root, and this is user {os.getuid()}")


def _open_files(pid: int) -> set[Path]:
    """Return the files that a process has open."""
    found = set()
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(descriptor.readlink())
    return found
