"""Deep linear classifiers and the maximum margin."""
