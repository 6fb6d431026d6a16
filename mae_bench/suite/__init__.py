"""Floor 3: from a suite to finished jobs; never loads torch."""
