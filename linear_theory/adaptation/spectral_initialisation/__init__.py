"""Factors that start from the gradient's singular vectors."""
