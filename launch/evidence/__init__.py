"""The words of `launch.check` and `launch.figures`: claims, figures, the page, their sources."""
