"""Floor 2: one recipe file per transfer task, one adapter file per toolbox."""
