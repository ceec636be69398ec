"""The words of `launch.compare`: its grid, cells, table and picture."""
