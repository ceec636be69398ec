"""Thin absl entry points: flags, one library call, a table. Run them as `python -m launch.NAME`."""
