"""The words of `launch.decompose`: inputs, portions of a run, report, pictures."""
