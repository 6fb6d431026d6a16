"""Runs a trial suite through SLURM as `mae-bench run --on slurm` would, in a process of its own.

Its one argument is JSON: store, rows (label -> fields of Counting), reading (fields of the task),
slurm (the table of site.toml), way (a key of LAUNCHERS), answer_s and lost_s.
"""

import json
import sys
from pathlib import Path

from mae_bench.commands.run import run_jobs
from mae_bench.core import registry
from mae_bench.core.site import Site
from mae_bench.core.slurm import slurm_from
from mae_bench.suite.launch.slurm import calls, submission
from mae_bench.suite.preflight import survey
from mae_bench.suite.suite import Column, Suite, made_row

registry.OBJECTIVES["counting"] = "trial_recipes:Counting"
registry.TASKS["reading"] = "trial_recipes:Reading"

asked = json.loads(sys.argv[1])
calls.ANSWER_S, submission.LOST_S = asked["answer_s"], asked["lost_s"]
suite = Suite(
    name="trial",
    rows=tuple(made_row(label, "counting", "demo", f) for label, f in asked["rows"].items()),
    columns=(Column("reading", "demo", asked["reading"]),),
    seeds=(0,),
)
site = Site(store=Path(asked["store"]), slurm=slurm_from(asked["slurm"], "site.toml"))
try:
    sys.exit(1 if run_jobs(survey(suite, site), 1, asked["way"]) else 0)
except KeyboardInterrupt:
    sys.exit(130)
