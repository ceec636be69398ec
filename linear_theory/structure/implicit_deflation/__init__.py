"""Gradient descent from a small start: components one after the other, with nothing deflated."""
