"""Measurements of several processes: rounds over devices, and a matrix in a file."""
