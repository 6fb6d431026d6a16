"""Ways to get planned jobs executed."""
