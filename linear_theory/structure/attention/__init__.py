"""Self-attention maps: their rank before and after the softmax."""
