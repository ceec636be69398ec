"""Sequential deflation under Gaussian and sparse noise."""
