"""The image study of sequential deflation."""
