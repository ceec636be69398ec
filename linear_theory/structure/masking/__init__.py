"""Training on masked inputs and the rank of features."""
