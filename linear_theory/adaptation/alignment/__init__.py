"""How the factors align with the first gradient."""
