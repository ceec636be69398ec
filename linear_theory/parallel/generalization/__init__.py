"""What deflation learns of a map hidden in noise."""
