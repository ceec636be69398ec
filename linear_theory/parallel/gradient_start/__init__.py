"""One gradient as the start of all workers: when nothing is left to warm up or to stagger."""
