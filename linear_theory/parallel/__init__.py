"""arXiv 2605.10741: deflation with all workers at once, and what noise leaves."""
