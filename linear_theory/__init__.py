"""Every theorem as an executable claim: measured value beside its bound, over random instances.

`registry` has the claims by name; `check` measures one on random instances and returns its `Row`.
`simulate` draws the problem Y = W X + E of claims, figures and notebooks, a `Simulation`; it takes
`Noise`. A theorem of one's own is a `Claim` with a `Control`; its measure returns `Evidence`.
"""

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
