"""How errors of early components reach the later ones."""
