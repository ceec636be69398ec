"""Steps on pairs of factors, beside the optimisers of single parameters."""
