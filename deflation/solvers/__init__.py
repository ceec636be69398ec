"""Rank-one solvers, one per file, and what they stand on."""
