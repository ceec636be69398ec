"""Rows from files and from the Hub: sources, columns, pictures."""
