"""Every theorem as an executable claim: measured value beside its bound, over random instances."""

from linear_theory.check import Row, check
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.simulate import Noise, Simulation, simulate
from linear_theory.registry import registry

__all__ = [
    "Claim",
    "Control",
    "Evidence",
    "Noise",
    "Row",
    "Simulation",
    "check",
    "registry",
    "simulate",
]
