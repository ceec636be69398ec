"""Where all claims are found: the claims modules of every topic list their own in CLAIMS."""

from __future__ import annotations

from linear_theory.claim import Claim
from linear_theory.topics import modules


def registry() -> dict[str, Claim]:
    """All claims by name: paper by paper, topic by topic, in the order of their source.

    Raises:
      ValueError: if two claims share a name.

    Example:
      >>> "perturbation.weyl" in registry()
      True
    """
    claims: dict[str, Claim] = {}
    for module in modules("claims"):
        for claim in module.CLAIMS:
            if claim.name in claims:
                raise ValueError(f"claim name {claim.name!r} is used twice; names are unique")
            claims[claim.name] = claim
    return claims
