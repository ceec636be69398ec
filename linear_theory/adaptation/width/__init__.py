"""Width: how a step size has to grow with the number of inputs for both factors to learn."""
