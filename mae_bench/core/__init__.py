"""Floor 0: the contract between recipes, jobs and machines; standard library only."""
