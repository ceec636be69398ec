"""Recovery of the change of a ReLU layer."""
