"""The first step of three starts."""
