"""Says what this machine has, what is missing, which jobs that blocks, and how to mend it."""

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from mae_bench.cli import OK, PREFLIGHT
from mae_bench.commands.options import Place, parse
from mae_bench.core.registry import OBJECTIVES, TASKS, load
from mae_bench.core.site import DATASETS, FRAMEWORKS, Site
from mae_bench.core.tracker import known
from mae_bench.kit.layouts import check
from mae_bench.suite.toolboxes import missing, versions
from mae_bench.suite.tracking import problems


@dataclass(frozen=True)
class DoctorOptions:
    """Where this machine's facts are."""

    place: Place = field(default_factory=Place)


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    subject: str
    found: str
    fine: bool = True


def doctor(words: list[str]) -> int:
    """Print every finding; return 0 if all that the demo needs is here, else 3."""
    options = parse(DoctorOptions, "doctor", words, "Say what is here and what is missing.")
    site = options.place.read()
    toolboxes = [toolbox(name, site) for name in FRAMEWORKS]
    for finding in [*machine(site), *toolboxes, *data_sets(site), *trackers()]:
        print(f"{'ok     ' if finding.fine else 'MISSING'}  {finding.subject:12}  {finding.found}")
    return OK if all(finding.fine for finding in toolboxes) else PREFLIGHT


def machine(site: Site) -> list[Finding]:
    """Return Python, cores, memory, GPUs and free disk."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    store = next(p for p in (site.store.resolve(), *site.store.resolve().parents) if p.exists())
    free = shutil.disk_usage(store).free / 2**30
    return [
        Finding("python", f"{platform.python_version()} ({sys.executable})"),
        Finding("machine", f"{len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB memory"),
        Finding("gpu", _gpus() or "none: jobs run on the CPU, sized for it only in the demo"),
        Finding("store", f"{site.store}: {free:.0f} GiB free", os.access(store, os.W_OK)),
    ]


def toolbox(framework: str, site: Site) -> Finding:
    """Return the framework's versions, or what is missing, the jobs that blocks and the cure."""
    interpreter = site.interpreter(framework)
    problem = missing(framework, interpreter)
    if problem is None:
        found = versions(framework, interpreter) or {}
        return Finding(framework, ", ".join(f"{name} {version}" for name, version in found.items()))
    names = [n for n in OBJECTIVES | TASKS if load(n).resources.framework == framework]
    return Finding(framework, f"{problem}  [blocks: {', '.join(names)}]", fine=False)


def data_sets(site: Site) -> list[Finding]:
    """Return whether each data set that the site names is whole; the demo makes its own."""
    findings = []
    for name in DATASETS:
        root: Path | None = site.data.get(name)
        if root is None:
            findings.append(
                Finding(name, f"no folder given (data.{name} in site.toml, or --{name} DIR)")
            )
            continue
        problems = check(name, root)
        findings.append(Finding(name, "; ".join(problems) or f"{root} is whole", not problems))
    return findings


def trackers() -> list[Finding]:
    """Return whether each tracker can be used; no job needs one."""
    here = Path(sys.executable)
    return [
        Finding(name, "; ".join(problems((name,), here)) or f"a tracker (--track {name})")
        for name in known()
    ]


def _gpus() -> str:
    """Return what nvidia-smi lists, empty without it."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return "; ".join(answer.stdout.splitlines())
