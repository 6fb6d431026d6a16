"""Ends jobs so that they rest, and forgets why they ended so that they are started again."""

import json
import os
import signal
import socket
from datetime import UTC, datetime
from pathlib import Path

from mae_bench.core.files import write_json
from mae_bench.core.names import check_own
from mae_bench.core.owner import Owner
from mae_bench.suite.attempts import STARTING, holder, last_number
from mae_bench.suite.status import Standing
from mae_bench.suite.store import CANCELLED, JOB, forgive

UNTOLD = "not told"
"""How the answer begins where a job goes on."""


def mark_cancelled(one: Standing) -> None:
    """Note in the job's folder that a person ended it, so that nothing begins an attempt."""
    check_own(one.folder, "the store")
    one.folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    write_json(one.folder / CANCELLED, {"message": f"{now}, from {socket.gethostname()}"})


def end_process(folder: Path) -> str:
    """Tell the process that runs a job to save and end; return what was done in words.

    The answer begins with `UNTOLD` if there is a process that cannot be told from here.
    """
    owner = holder(folder)
    if owner is None:
        return "nothing runs it"
    if owner.started_by == STARTING:  # the owner is the run itself, which has other jobs
        return "it is being started, and ends before its first step"
    if not owner.here:
        return _elsewhere(owner)
    try:
        os.kill(owner.pid, signal.SIGTERM)
    except ProcessLookupError:
        return "its process has just ended"
    except PermissionError:
        return f"{UNTOLD}: process {owner.pid} is another user's, who must end it"
    return f"process {owner.pid} was told to save and end"


def retried(one: Standing) -> str:
    """Clear a job's failure or cancellation with its count of attempts; return that in words."""
    check_own(one.folder, "the store")
    if one.state not in ("failed", "cancelled"):
        return f"{one.state}: there is nothing to forget"
    path = one.folder / JOB
    if path.exists():
        content = json.loads(path.read_text())
        write_json(path, content | {"attempts_before": last_number(one.folder)})
    forgive(one.folder)
    if not any(one.folder.iterdir()):
        one.folder.rmdir()
    return f"forgotten that it {'was cancelled' if one.state == 'cancelled' else 'failed'}"


def _elsewhere(owner: Owner) -> str:
    """Return where the process can be told to end."""
    if owner.host == socket.gethostname():  # in another container, or an id of before a reboot
        return f"{UNTOLD}: it runs in another container of {owner.host}; end it there: cancel again"
    return (
        f"{UNTOLD}: it runs as process {owner.pid} on {owner.host}; run the same command there, or "
        f"there: kill -TERM {owner.pid}"
    )
