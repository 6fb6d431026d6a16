"""The program, knowing the trial recipes: drive_program.py COMMAND [OPTIONS]."""

from mae_bench.cli import main
from mae_bench.core import registry

registry.OBJECTIVES["counting"] = "trial_recipes:Counting"
registry.TASKS["reading"] = "trial_recipes:Reading"
main()
