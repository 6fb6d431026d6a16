"""Runs the trial suite as `mae-bench run` would, in a process that tests can kill."""

import json
import sys
from pathlib import Path

from mae_bench.commands.run import run_jobs
from mae_bench.core import registry
from mae_bench.core.site import Site
from mae_bench.suite.preflight import survey
from mae_bench.suite.suite import Column, Suite, made_row

registry.OBJECTIVES["counting"] = "trial_recipes:Counting"
registry.TASKS["reading"] = "trial_recipes:Reading"

store, fields = Path(sys.argv[1]), json.loads(sys.argv[2])
suite = Suite(
    name="trial",
    rows=(made_row("Good", "counting", "demo", fields),),
    columns=(Column("reading", "demo", fields),),
    seeds=(0,),
)
try:
    sys.exit(1 if run_jobs(survey(suite, Site(store=store)), 2) else 0)
except KeyboardInterrupt:
    sys.exit(130)
