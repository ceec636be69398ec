"""Projected gradients, and the rank of gradients."""
