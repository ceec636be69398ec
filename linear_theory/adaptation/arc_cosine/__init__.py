"""Gradients of a ReLU layer in the mean over Gaussian inputs."""
