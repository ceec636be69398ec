"""The words of `launch.decompose`: flags, inputs, portions of a run, report, pictures."""
