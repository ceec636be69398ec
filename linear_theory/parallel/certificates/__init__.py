"""The bounds that a Solution carries, held against the errors it really has."""
