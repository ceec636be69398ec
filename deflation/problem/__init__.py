"""The regression problem: its reduction, its targets, its components, its derivative."""
