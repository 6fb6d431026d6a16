"""Floor 2: one recipe file per pretraining objective."""
