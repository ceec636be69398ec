"""arXiv 2503.19859: where low-rank structure comes from."""
