"""Linear models by alternating steps and by gradient descent."""
