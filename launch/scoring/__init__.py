"""The words of `launch.evaluate`: configuration, what was trained, and its scores."""
