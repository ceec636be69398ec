"""Every claim on one-gradient starts and factored updates, and the examples of their modules."""

import dataclasses

import jax
import pytest

from linear_theory import (
    alignment_claims,
    arc_cosine_claims,
    best_angle_claims,
    displacement_claims,
    factored_descent_claims,
    linearised_claims,
    preconditioning_claims,
    preconditioning_rate_claims,
    registry,
    relu_recovery_claims,
    smoothing_claims,
    spectral_initialisation_claims,
    subtracted_start_claims,
    toys_claims,
)
from linear_theory.check import check

CLAIMS = [
    claim
    for module in (
        alignment_claims,
        linearised_claims,
        best_angle_claims,
        spectral_initialisation_claims,
        factored_descent_claims,
        preconditioning_claims,
        preconditioning_rate_claims,
        arc_cosine_claims,
        relu_recovery_claims,
        smoothing_claims,
        displacement_claims,
        subtracted_start_claims,
        toys_claims,
    )
    for claim in module.CLAIMS
]


@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_claim_holds_and_its_control_is_caught(claim, seed):
    # An average needs more samples; a rate only counts where its mode is alone in the end.
    row = check(claim, jax.random.key(seed), 128 if claim.kind in ("mean", "fit") else 32)
    assert row.violations == 0
    assert row.tolerance_explained, f"only {row.tolerance_used:.1e} of the tolerance is used"
    assert row.premises_met >= 20
    assert row.control_caught, f"the control fails at {row.control_share:.1%} of its instances"


@pytest.mark.parametrize("factor", [0.97, 1.03])
@pytest.mark.parametrize(
    "name",
    [
        "spectral_initialisation.mean_error",
        "spectral_initialisation.fixed_step_risk",
        "arc_cosine.stein",
    ],
)
def test_a_mean_of_many_samples_is_right_to_three_percent(name, factor):
    claim = registry()[name]

    def scaled(batch):
        evidence = claim.measure(batch)
        return evidence._replace(measured=factor * evidence.measured)

    wrong = dataclasses.replace(claim, measure=scaled)
    assert check(wrong, jax.random.key(11), 8192).violations > 0


def test_names_are_unique_and_registered():
    names = [claim.name for claim in CLAIMS]
    assert len(set(names)) == len(names) >= 45
    assert set(names) <= set(registry())
