"""Examples of one and two dimensions, in closed form."""
