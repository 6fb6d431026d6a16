"""One file for each tracker that comes with mae-bench; its package is imported when it opens."""
