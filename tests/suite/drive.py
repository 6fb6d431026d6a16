"""Runs the trial suite as `mae-bench run` would, in a process that tests can kill.

drive.py STORE FIELDS [SECONDS between lines of progress]
"""

import json
import sys
from pathlib import Path

from mae_bench.commands.run import run_jobs
from mae_bench.core import registry
from mae_bench.core.site import Site
from mae_bench.suite import display
from mae_bench.suite.preflight import survey
from mae_bench.suite.suite import Column, Suite, made_row

registry.OBJECTIVES["counting"] = "trial_recipes:Counting"
registry.TASKS["reading"] = "trial_recipes:Reading"

if sys.argv[3:]:
    display.PLAIN_EVERY_S = float(sys.argv[3])
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
