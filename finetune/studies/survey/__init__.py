"""The figures of the survey of low-rank structure that need networks."""
