"""A model and a loss of one's own as a network: its products are found in the trace."""
