"""Exact algebra of low-rank changes: spectra, cuts, sums and differences, in factors and float64.

Nothing of the size of a kernel is formed but where a difference of two kernels is the input.
"""
