"""What a suite costs: GPU-hours and where they come from, wall time, disk, energy, money."""
