import jax
import pytest

from linear_theory import (
    cascade_claims,
    first_order_claims,
    noise_claims,
    recovery_claims,
    training_claims,
)
from linear_theory.check import check

CLAIMS = [
    claim
    for module in (
        cascade_claims,
        first_order_claims,
        noise_claims,
        recovery_claims,
        training_claims,
    )
    for claim in module.CLAIMS
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_claim_holds_and_its_control_is_caught(claim):
    row = check(claim, jax.random.key(11), 32)
    assert row.violations == 0
    assert row.tolerance_explained, f"only {row.tolerance_used:.1e} of the tolerance is used"
    assert row.premises_met >= 25
    assert row.control_caught, f"the control fails at {row.control_share:.1%} of its instances"
    assert row.holds


def test_names_are_unique_and_of_this_subject():
    names = [claim.name for claim in CLAIMS]
    assert len(set(names)) == len(names)
    assert all(name.startswith("cascade.") for name in names)


def test_the_spectra_of_the_cascade_claims_are_unequal_to_the_printed_ones():
    """The corrected statements differ from the printed ones only where n > d and there is noise."""
    corrected = [claim for claim in CLAIMS if claim.status == "corrected"]
    assert {claim.name for claim in corrected} >= {"cascade.lemma_1", "cascade.theorem_1_noisy"}
    for claim in corrected:
        assert check(claim, jax.random.key(5), 32).control_share > 0.5
