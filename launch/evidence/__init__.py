"""The evidence page, and where figures come from."""
