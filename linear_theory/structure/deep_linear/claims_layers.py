"""Claims: gradient descent on deep linear networks leaves all but 2r directions alone.

Legend: as in `deep_linear` and `deep_linear.instances`.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import norm, per_group, transpose
from linear_theory.structure.deep_linear import silent_scales as scales
from linear_theory.structure.deep_linear import theory as deep
from linear_theory.structure.deep_linear.instances import (
    ROUNDING,
    SOURCE,
    STEPS,
    WIDE_ROWS,
    Network,
    draw_networks,
    rounding,
    silent,
    silent_stretch,
    trained,
    worst,
)


def _subspaces(network: Network) -> Evidence:
    """W_l V and W_l^T U are multiples of U and V: their parts off the line are zero."""
    bases, errors = silent(network), []
    for layer, basis, image in zip(trained(network), bases, bases[1:], strict=False):
        forward, backward = layer @ basis, transpose(layer) @ image
        rho = np.mean(np.sum(forward * image, axis=-2), axis=-1)[..., None, None]
        errors += [forward - rho * image, backward - rho * basis]
    return Evidence(worst(errors), rounding(network))


def _update_tail(network: Network, flat: bool = True) -> Evidence:
    """Distance of the singular values of the last updates from d - 2r copies of |rho_l - eps_l|."""
    silent = network.target.shape[-1] - 2 * network.rank
    errors = []
    measured = silent_stretch(network)[-1]
    for index, layer in enumerate(trained(network)):
        values = np.linalg.svd(layer[-1] - layer[0], compute_uv=False)
        level = np.abs(measured[:, index] - network.scales[:, index]) * flat
        distance = np.sort(np.abs(values - level[:, None]), axis=1)
        errors.append(distance[:, silent - 1])
    return Evidence(np.max(errors, axis=0), rounding(network))


def _wide(network: Network, square: bool = False) -> Evidence:
    bases = deep.silent_bases_wide(network.layers, network.target)
    path = trained(network)
    times = np.arange(STEPS + 1)[:, None]
    factor = (1 - network.step * network.decay) ** times
    if square:
        own = scales.silent_scales(network.scales, network.step, network.decay, steps=STEPS)
        factor = np.asarray(own)[..., 0] / network.scales[:, 0]
    errors = [path[-1] @ bases[-1]]
    for index, (layer, basis) in enumerate(zip(path[:-1], bases[:-1], strict=True)):
        rho = (network.scales[:, index] * factor)[..., None, None]
        image = network.layers[index] @ basis / network.scales[:, index, None, None]
        errors += [layer @ basis - rho * image, transpose(layer) @ image - rho * basis]
    return Evidence(worst(errors), rounding(network))


def _wide_rank(network: Network, rows: int = 2) -> Evidence:
    """The first singular value of an update that the rank does not allow."""
    errors = [
        np.linalg.svd(layer[-1] - layer[0], compute_uv=False)[:, rows * WIDE_ROWS]
        for layer in trained(network)[:-1]
    ]
    return Evidence(np.max(errors, axis=0), rounding(network))


def _compression(network: Network, whole: bool = True) -> Evidence:
    bases = silent(network)
    factors, left, right = deep.compressed_start(network.layers, bases)
    small = transpose(left) @ network.target @ right
    small_path = deep.descend(factors, small, network.step, network.decay, steps=STEPS)
    rho = scales.silent_scales(network.scales, network.step, network.decay, steps=STEPS)
    rest = np.asarray(rho).prod(axis=-1)[..., None, None] * (bases[-1] @ transpose(bases[0]))
    rebuilt = left @ np.asarray(deep.product(small_path)) @ transpose(right) + whole * rest
    return Evidence(worst([deep.product(trained(network)) - rebuilt]), rounding(network))


def _directions(network: Network, stacked: bool = True) -> Evidence:
    """The projection on the 2r directions that the first gradient shows, against the true one."""
    rank = network.rank
    basis = silent(network)[0]
    stack = deep.gradient_stack(network.layers, network.target)
    dim = network.target.shape[-1]
    used = stack if stacked else stack[:, :dim]
    rows = np.linalg.svd(used)[2][:, : 2 * rank]
    # The hypothesis: what the stack has on the 2r directions stands above its silent values.
    least = np.linalg.svd(stack @ deep.complement(basis), compute_uv=False)[:, -1]
    largest = np.linalg.svd(stack @ basis, compute_uv=False)[:, 0]
    gap = least**2 - largest**2
    # Sine of the angle by the theorem of Davis and Kahan for stack^T stack.
    allowed = ROUNDING * dim**2 * norm(stack) ** 2 / np.where(gap > 0, gap, 1)
    return Evidence(norm(rows @ basis), allowed, gap > 1e-6 * least**2)


draw_gaussian = functools.partial(draw_networks, gaussian=True)
draw_wide = functools.partial(draw_networks, wide=True)
draw_small = functools.partial(draw_networks, low=0.1, high=0.4)

CLAIMS = (
    Claim(
        name="deep_linear.invariant_subspaces",
        source=f"{SOURCE}, theorem 2",
        statement="Each layer acts on its silent subspace as a multiple of a fixed isometry at "
        "every step, for any scales and weight decay; square layers, 2r < d, scaled orthogonal "
        "start.",
        formula="W_l(t) V_{l,2} = rho_l(t) U_{l,2}, W_l(t)^T U_{l,2} = rho_l(t) V_{l,2}",
        kind="identity",
        status="with a condition",
        instances=draw_networks,
        measure=per_group(_subspaces),
        control=Control("a Gaussian start", per_group(_subspaces), draw_gaussian),
    ),
    Claim(
        name="deep_linear.update_rank",
        source=f"{SOURCE}, section 2.2 and figure 1",
        statement="The update of a layer has at most 2r singular values of its own and d - 2r "
        "equal ones.",
        formula="d - 2r singular values of W_l(t) - W_l(0) are |rho_l(t) - eps_l|",
        kind="identity",
        status="corrected",
        instances=draw_networks,
        measure=per_group(_update_tail),
        control=Control(
            "rank at most 2r", per_group(lambda network: _update_tail(network, flat=False))
        ),
    ),
    Claim(
        name="deep_linear.wide_target",
        source=f"{SOURCE}, appendix C",
        statement="With fewer outputs than half the width, the silent scales of all layers but "
        "the last shrink by weight decay alone.",
        formula="rho_l(t) = eps_l (1 - eta lam)^t, l < L, and W_L(t) V_{L,2} = 0",
        kind="identity",
        status="as printed",
        instances=draw_wide,
        measure=per_group(_wide),
        control=Control(
            "the recursion of the square case",
            per_group(lambda network: _wide(network, square=True)),
        ),
    ),
    Claim(
        name="deep_linear.wide_update_rank",
        source=f"{SOURCE}, appendix C",
        statement="There, without weight decay, the updates have rank 2k, and rank k in the last "
        "layer.",
        formula="rank(W_l(t) - W_l(0)) <= 2k for l < L, <= k for l = L",
        kind="identity",
        status="as printed",
        instances=functools.partial(draw_networks, wide=True, decay=False),
        measure=per_group(_wide_rank),
        control=Control(
            "rank k in every layer", per_group(lambda network: _wide_rank(network, rows=1))
        ),
    ),
    Claim(
        name="deep_linear.compression",
        source=f"{SOURCE}, section 2.3 (Deep LoRA)",
        statement="Training of factors of size 2r x 2r gives the product of the full network "
        "exactly.",
        formula="W_{L:1}(t) = U_{L,1} C_{L:1}(t) V_{1,1}^T + prod_l rho_l(t) U_{L,2} V_{1,2}^T",
        kind="identity",
        status="as printed",
        instances=draw_networks,
        measure=per_group(_compression),
        control=Control(
            "without the silent part", per_group(lambda network: _compression(network, whole=False))
        ),
    ),
    Claim(
        name="deep_linear.compression_directions",
        source=f"{SOURCE}, section 2.3 (Deep LoRA)",
        statement="The 2r directions are read off the first gradient while they stand above the "
        "silent ones.",
        formula="span V_{1,1} = top 2r right singular vectors of [G; G^T W_1(0)]",
        kind="identity",
        status="with a condition",
        instances=draw_small,
        measure=per_group(_directions),
        control=Control(
            "those of G alone", per_group(lambda network: _directions(network, stacked=False))
        ),
    ),
)
