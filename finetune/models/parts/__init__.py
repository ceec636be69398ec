"""What the networks are made of: layers, heads, positions, caches."""
