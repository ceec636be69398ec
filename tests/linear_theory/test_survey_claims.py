"""Every claim on low-rank structure, and the examples of the modules behind them."""

import jax
import pytest

from linear_theory import (
    cost_claims,
    deep_linear_claims,
    depth_shrinkage_claims,
    dropout_claims,
    dropout_two_claims,
    gradient_projection_claims,
    gradient_rank_claims,
    least_squares_claims,
    margin_claims,
    masking_claims,
    registry,
    regularization_claims,
    row_space_claims,
    silent_scales_claims,
    tangent_kernel_claims,
)
from linear_theory.check import check

CLAIMS = [
    claim
    for module in (
        tangent_kernel_claims,
        masking_claims,
        margin_claims,
        gradient_projection_claims,
        cost_claims,
        least_squares_claims,
        row_space_claims,
        gradient_rank_claims,
        deep_linear_claims,
        silent_scales_claims,
        regularization_claims,
        depth_shrinkage_claims,
        dropout_claims,
        dropout_two_claims,
    )
    for claim in module.CLAIMS
]


@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_claim_holds_and_its_control_is_caught(claim, seed):
    # An average needs more samples for its 3 standard errors + 1% to mean something.
    row = check(claim, jax.random.key(seed), 96 if claim.kind == "mean" else 25)
    assert row.violations == 0
    assert row.tolerance_explained, f"only {row.tolerance_used:.1e} of the tolerance is used"
    assert row.premises_met >= 18
    assert row.control_caught, f"the control fails at {row.control_share:.1%} of its instances"


def test_names_are_registered_once():
    names = [claim.name for claim in CLAIMS]
    assert len(set(names)) == len(names)
    assert set(names) <= set(registry())
