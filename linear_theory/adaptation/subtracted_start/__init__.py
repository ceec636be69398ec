"""Starts that are subtracted from the weight."""
