"""The words of `launch.compare`: flags, grid, cells, table and picture."""
