"""Means of many samples are right to three percent: a side that is off is seen."""

import dataclasses

import jax
import pytest

from linear_theory import registry
from linear_theory.check import check


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
