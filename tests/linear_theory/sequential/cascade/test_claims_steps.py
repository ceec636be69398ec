import jax
import pytest

from linear_theory.check import check
from linear_theory.sequential.cascade import claims_first_order as first_order_claims
from linear_theory.sequential.cascade import claims_noise as noise_claims
from linear_theory.sequential.cascade import claims_recovery as recovery_claims
from linear_theory.sequential.cascade import claims_steps as cascade_claims
from linear_theory.sequential.cascade import claims_training as training_claims

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


# That the printed statements fail at all, tests/linear_theory/test_registry.py holds.
@pytest.mark.thorough
def test_the_spectra_of_the_cascade_claims_are_unequal_to_the_printed_ones():
    """The corrected statements differ from the printed ones only where n > d and there is noise."""
    corrected = [claim for claim in CLAIMS if claim.status == "corrected"]
    assert {claim.name for claim in corrected} >= {"cascade.lemma_1", "cascade.theorem_1_noisy"}
    for claim in corrected:
        assert check(claim, jax.random.key(5), 32).control_share > 0.5
