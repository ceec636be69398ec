"""Budgets of every size: when a threshold is passed."""
