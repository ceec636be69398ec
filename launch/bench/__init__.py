"""The suites of `launch.benchmark`, and how they measure."""
