"""One look for all figures, what a figure is, and its files."""
