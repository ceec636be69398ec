"""Whether methods with adaptive ranks find the ranks of a made teacher, and what they reach."""
