"""Maps of low rank in place of a network's own, and adapters added up, without an inverse."""
