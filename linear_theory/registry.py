"""Where all claims are found: each module lists its own in CLAIMS, in the order of its source."""

from __future__ import annotations

from linear_theory import (
    alignment_claims,
    arc_cosine_claims,
    best_angle_claims,
    cascade_claims,
    contraction_claims,
    cost_claims,
    deep_linear_claims,
    depth_shrinkage_claims,
    displacement_claims,
    dropout_claims,
    dropout_two_claims,
    factored_descent_claims,
    first_order_claims,
    generalization_claims,
    gradient_projection_claims,
    gradient_rank_claims,
    krylov_claims,
    late_phase_claims,
    least_squares_claims,
    linearised_claims,
    margin_claims,
    masking_claims,
    noise_claims,
    perturbation_claims,
    preconditioning_claims,
    preconditioning_rate_claims,
    rank_one_claims,
    recovery_claims,
    recursion_claims,
    regularization_claims,
    relu_recovery_claims,
    row_space_claims,
    self_correction_claims,
    silent_scales_claims,
    smoothing_claims,
    spectral_initialisation_claims,
    staleness_claims,
    staleness_rounds_claims,
    subtracted_start_claims,
    tangent_deflation_claims,
    tangent_kernel_claims,
    toys_claims,
    training_claims,
    truncation_claims,
    warm_up_claims,
)
from linear_theory.claim import Claim

MODULES = (
    perturbation_claims,
    rank_one_claims,
    truncation_claims,
    cascade_claims,
    training_claims,
    noise_claims,
    recovery_claims,
    first_order_claims,
    self_correction_claims,
    contraction_claims,
    recursion_claims,
    warm_up_claims,
    late_phase_claims,
    staleness_claims,
    staleness_rounds_claims,
    krylov_claims,
    generalization_claims,
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
    least_squares_claims,
    row_space_claims,
    deep_linear_claims,
    silent_scales_claims,
    regularization_claims,
    depth_shrinkage_claims,
    margin_claims,
    dropout_claims,
    dropout_two_claims,
    masking_claims,
    gradient_projection_claims,
    gradient_rank_claims,
    cost_claims,
    tangent_kernel_claims,
    tangent_deflation_claims,
)


def registry() -> dict[str, Claim]:
    """All claims by name, in the order of the documents.

    Raises:
      ValueError: if two claims share a name.

    Example:
      >>> "perturbation.weyl" in registry()
      True
    """
    claims: dict[str, Claim] = {}
    for module in MODULES:
        for claim in module.CLAIMS:
            if claim.name in claims:
                raise ValueError(f"claim name {claim.name!r} is used twice; names are unique")
            claims[claim.name] = claim
    return claims
