"""The words of `launch.train`: problem, configuration, job, display."""
