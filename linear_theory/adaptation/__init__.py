"""arXiv 2502.01235: low-rank adaptation and what one gradient knows."""
