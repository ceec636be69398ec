"""Experiments with networks and their figures, a folder per study."""
