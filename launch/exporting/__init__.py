"""The words of `launch.export`: configuration, and how a run leaves for other programs."""
