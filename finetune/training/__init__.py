"""Training as pure functions over pytrees: state, step, loop, checkpoints."""
