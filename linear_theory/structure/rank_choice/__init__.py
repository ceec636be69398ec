"""What a choice of ranks can bring over the same rank in every map."""
