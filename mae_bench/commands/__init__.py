"""Floor 5: one module for each group of sub-commands."""
