"""Leading components of an array in memory without rounds, by the method that its size favours."""
