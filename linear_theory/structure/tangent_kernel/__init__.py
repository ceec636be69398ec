"""Adapters linearised at their start."""
