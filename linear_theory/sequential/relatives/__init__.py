"""Relatives of deflation: EigenGame, and rank-one pursuit from a part of the entries."""
