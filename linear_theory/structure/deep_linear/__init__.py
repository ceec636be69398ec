"""Gradient descent on deep linear networks."""
