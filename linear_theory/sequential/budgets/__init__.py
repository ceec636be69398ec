"""Budgets: which division of the steps is best, and when a threshold is passed."""
