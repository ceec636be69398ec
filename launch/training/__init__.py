"""The words of `launch.train`: flags, problem, job, run, display."""
