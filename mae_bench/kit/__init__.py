"""Floor 1: the torch tools that pretraining and transfer share."""
