"""Preconditioned descent with a damped preconditioner."""
