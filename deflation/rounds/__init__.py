"""One round of all workers and the loop around it, from the start to the outcome."""
