"""Measurements printed by `make bench`. No test depends on a measured time."""
