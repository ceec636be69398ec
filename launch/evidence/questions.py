"""The questions that the documents leave open, and what is now known of each."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

HEAD = """
## Open questions

What the documents leave open, what is now known of it, and the claims that say so.

"""
COLUMNS = ("question", "left open by", "what is known", "claims")


class Question(NamedTuple):
    """A question, the document that leaves it open, what is known, and names of claims."""

    text: str
    source: str
    known: str
    claims: tuple[str, ...]


QUESTIONS = (
    Question(
        "Is there a lower bound that matches the cascade of errors?",
        "arXiv 2505.22602, section 4",
        "For the residuals the printed product is far from sharp: a first error moves them by its "
        "own size at most, to first order, and the error of the training fit by no more than the "
        "sum of all. Not known: errors at every step at once, and a matching bound of components.",
        (
            "cascade.theorem_n",
            "cascade.first_order_mismatch",
            "cascade.first_order_rank_one",
            "cascade.exact_termination",
        ),
    ),
    Question(
        "How should a budget be divided among the components?",
        "arXiv 2505.22602, limitations",
        "With the rates known the best division is exact and has a closed form; it recovers "
        "components as well as the best alpha chosen afterwards. For the sum alone more-first is "
        "the wrong way round once there are steps enough, as later steps repair earlier ones. Not "
        "known: a rule from estimates on the way that is proved.",
        (
            "budgets.optimal",
            "budgets.water_filling",
            "budgets.head_start",
            "budgets.recovery",
            "budgets.later_steps_repair",
            "budgets.later_first",
        ),
    ),
    Question(
        "What holds as gaps close?",
        "arXiv 2605.10741, third open question",
        "Single components are lost, the span of the group is not: it is found at the rate of the "
        "gap around it, uniformly. What is published of it is off by the width of the group, at "
        "most by what the first worker turns in a round. A run reports both bounds.",
        (
            "clusters.span",
            "clusters.lag",
            "clusters.width",
            "self_correction.interior_tie",
            "perturbation.wedin_subspace",
            "certificates.sum",
        ),
    ),
    Question(
        "How late may workers read each other?",
        "arXiv 2605.10741, second open question",
        "A delay costs a power of the rate, proved for alternating steps near the end and for "
        "exact solvers from any start; delays that vary cost no more than the longest of them. Not "
        "known: gradient descent, and a bound for varying delays in every round.",
        (
            *("staleness.envelope", "staleness.late_rate", "staleness.exact_solver"),
            *("staleness.varying_exact", "staleness.varying_late"),
        ),
    ),
    Question(
        "Does parallel deflation work in nonlinear networks?",
        "arXiv 2605.10741, first open question",
        "In the tangent model it is deflation with coupling kernels, and corrects itself where "
        "they are small. Not known: how far a network leaves its tangent model over a run.",
        ("tangent_kernel.self_correction", "tangent_kernel.cascade", "tangent_kernel.change_size"),
    ),
    Question(
        "How does explicit deflation relate to what small starts learn by themselves?",
        "arXiv 2505.22602, related work; arXiv 2503.19859",
        "Between two arrivals descent from a small start stands where exact deflation ends, up to "
        "a power of the start that the relative gap decides; with three layers the next component "
        "has then grown by a constant only. From any start the next direction is the residual's.",
        (
            "implicit_deflation.flow",
            "implicit_deflation.plateau",
            "implicit_deflation.plateau_exponent",
            "implicit_deflation.depth",
            "implicit_deflation.escape",
        ),
    ),
    Question(
        "How accurate is an answer, without the exact one?",
        "not asked; needed to stop",
        "Bounds of every component and of their sum hold in float32, ties included, and are a "
        "tenth above the errors in the median. Not known: a stopping rule on the way, proved.",
        ("certificates.components", "certificates.sum"),
    ),
    Question(
        "What do re-optimised, orthogonal and jointly fitted components gain?",
        "arXiv 2505.22602, future work",
        "One round of re-optimisation squares the error of the sum, in turn and not all at once; a "
        "full-rank step errs by the square of an angle. Orthogonal components can be left out one "
        "by one, but never make up for an error of the first.",
        (
            *("extensions.reoptimised", "extensions.reoptimised_squares"),
            *("extensions.orthogonal", "extensions.orthogonal_floor", "extensions.full_rank"),
        ),
    ),
    Question(
        "Why do masks lower the rank of features, and what is it good for?",
        "arXiv 2503.19859, section 4.4",
        "A linear masked autoencoder with equal variances has a steeper spectrum the fewer inputs "
        "are kept, and the better probes along its leading direction; the mask has a direction of "
        "its own, which inputs without masks leave unused. Not known: deep networks.",
        (
            *("masking.reconstruction", "masking.linear_rank", "masking.probe"),
            "masking.unmasked_deficient",
        ),
    ),
    Question(
        "Have nonlinear networks gradients of low rank?",
        "arXiv 2503.19859, section 5",
        "Smooth ones of two layers do near small weights, up to the square of what goes into the "
        "nonlinearity and with any number of samples; networks with kinks do not. Not known: later "
        "in training, and deeper networks.",
        ("gradient_projection.nonlinear", "gradient_projection.stable_rank_any"),
    ),
    Question(
        "When do ranks that adapt to the module bring something?",
        "arXiv 2605.10741 and arXiv 2303.10512, which report scores",
        "What the best ranks leave of a change, over what equal ranks leave, is the square of a "
        "ratio of power means of the modules' scales, whose order is one over the slope of their "
        "spectra: a lot for steep spectra, nothing near the slope 1/2. Not known: what of a change "
        "a score on held-out rows depends on.",
        (
            *("rank_choice.power_lower", "rank_choice.power_upper", "rank_choice.lognormal"),
            *("rank_choice.steep_lower", "rank_choice.steep_upper", "rank_choice.least"),
        ),
    ),
    Question(
        "Are Gaussian starts orthogonal enough for theorems that ask for orthogonal ones?",
        "arXiv 2503.19859, section 3.1",
        "Square layers are not at any width. Tall ones are, with few columns.",
        ("deep_linear.gaussian_start", "deep_linear.narrow_gaussian_start"),
    ),
)


def asked(names: Collection[str]) -> list[tuple[str, ...]]:
    """A row of each question of which some claims are among `names`."""
    rows = []
    for question in QUESTIONS:
        claims = [f"`{name}`" for name in question.claims if name in names]
        if claims:
            rows.append((question.text, question.source, question.known, ", ".join(claims)))
    return rows
