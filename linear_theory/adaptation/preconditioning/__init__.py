"""Preconditioned descent, whose rate does not feel the conditioning."""
