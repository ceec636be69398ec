"""Rank-one adapters inside real networks. Models, methods and training live here."""
