"""arXiv 2505.22602: deflation one component after the other."""
