"""Every claim on parallel deflation and on noise, and the examples of the modules behind them."""

import jax
import pytest

from linear_theory import (
    contraction_claims,
    generalization_claims,
    late_phase_claims,
    recursion_claims,
    registry,
    self_correction_claims,
    warm_up_claims,
)
from linear_theory.check import check

CLAIMS = [
    claim
    for module in (
        self_correction_claims,
        contraction_claims,
        recursion_claims,
        warm_up_claims,
        late_phase_claims,
        generalization_claims,
    )
    for claim in module.CLAIMS
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_claim_holds_and_its_control_is_caught(claim):
    # An average needs more samples for its 3 standard errors + 1% to mean something.
    row = check(claim, jax.random.key(11), 96 if claim.kind == "mean" else 32)
    assert row.violations == 0
    assert row.tolerance_explained, f"only {row.tolerance_used:.1e} of the tolerance is used"
    assert row.premises_met >= 20
    assert row.control_caught, f"the control fails at {row.control_share:.1%} of its instances"


def test_names_are_of_their_subject_and_registered():
    names = [claim.name for claim in CLAIMS]
    assert len(set(names)) == len(names) >= 16
    assert {name.partition(".")[0] for name in names} == {"self_correction", "generalization"}
    assert set(names) <= set(registry())
