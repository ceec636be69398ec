"""The judge itself: every kind, what counts as a violation, and when a control is caught."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linear_theory import Claim, Control, Evidence, check

KEY = jax.random.key(0)
SHARP = {"upper": 2.0, "lower": 0.5, "identity": 2.0, "fit": 1.0, "mean": 1.0}


def draw(key, trials):
    return jax.random.uniform(key, (trials, 3), minval=0.5, maxval=1.0)


def claim_of(measure, kind="upper", control=None, name="test.claim", instances=draw):
    """A claim whose control is always caught, unless one is given."""
    if control is None:
        wrong = 0.0 if kind in ("upper", "identity") else 100.0
        control = Control("wrong", lambda batch: Evidence(jnp.ones(len(batch)), wrong, True, 0.1))
    return Claim(name, "source", "words", "a <= b", kind, "new", instances, measure, control)


def constant(measured, bound, premise=True, tolerance=None, kind="upper"):
    """A claim with the same evidence whatever was drawn."""
    return claim_of(lambda batch: Evidence(measured, bound, premise, tolerance), kind)


@pytest.mark.parametrize("kind", ["upper", "lower", "identity", "fit", "mean"])
def test_kind_holds_and_fails(kind):
    bound = SHARP[kind]
    right = check(constant(np.ones((4, 2)), bound, tolerance=0.1, kind=kind), KEY, 4)
    assert (right.violations, right.premises_met, right.control_caught) == (0, 4, True)
    assert right.holds
    wrong = 0.5 if kind in ("upper", "identity") else 2.0
    row = check(constant(np.ones((4, 2)), wrong, tolerance=0.1, kind=kind), KEY, 4)
    # A mean is one statement per point, whatever the number of instances.
    assert row.violations == (2 if kind == "mean" else 8)
    assert not row.holds


def test_tightness_is_one_when_sharp_and_larger_when_loose():
    measured = np.array([[1.0], [2.0], [4.0]])
    upper = check(constant(measured, 4.0), KEY, 3)
    assert (upper.tightness_min, upper.tightness_median) == (1.0, 2.0)
    lower = check(constant(measured, 1.0, kind="lower"), KEY, 3)
    assert (lower.tightness_min, lower.tightness_median) == (1.0, 2.0)


def test_tightness_leaves_out_what_has_none():
    row = check(constant(np.array([0.0, 1.0, 1.0, 1.0]), np.array([1.0, np.inf, 3.0, 0.0])), KEY, 4)
    assert row.tightness_min == row.tightness_median == 3.0
    nothing = check(constant(np.zeros(3), 1.0), KEY, 3)
    assert math.isnan(nothing.tightness_min) and nothing.holds


def test_tightness_leaves_out_values_at_the_level_of_rounding():
    row = check(constant(np.array([1e-14, 1e-13, 1.0]), np.array([1.0, 1e-14, 3.0])), KEY, 3)
    assert row.tightness_min == row.tightness_median == 3.0 and row.holds


def test_tightness_survives_an_enormous_bound():
    row = check(constant(np.array([1e-10]), 1e300), KEY, 1)
    assert row.tightness_min == np.inf and row.holds


def test_only_points_with_their_premise_count():
    measured = np.array([[1.0, 9.0], [9.0, 9.0], [1.0, 1.0]])
    premise = np.array([[True, False], [False, False], [True, True]])
    row = check(constant(measured, 2.0, premise), KEY, 3)
    assert (row.trials, row.premises_met, row.violations) == (3, 2, 0)
    assert row.tightness_min == 2.0


def test_no_premise_is_not_evidence():
    row = check(constant(np.ones(3), 2.0, premise=False), KEY, 3)
    assert (row.premises_met, row.violations) == (0, 0)
    assert not row.holds


@pytest.mark.parametrize("kind", ["upper", "lower", "identity", "fit", "mean"])
@pytest.mark.parametrize("side", ["measured", "bound"])
def test_nan_is_a_violation(kind, side):
    sides = {"measured": np.ones(50), "bound": np.full(50, SHARP[kind])}
    sides[side][7] = np.nan
    claim = constant(sides["measured"], sides["bound"], tolerance=0.1, kind=kind)
    assert check(claim, KEY, 50).violations == 1
    outside = np.arange(50) != 7
    claim = constant(sides["measured"], sides["bound"], outside, tolerance=0.1, kind=kind)
    assert check(claim, KEY, 50).violations == 0


def test_a_fit_with_a_tolerance_that_is_nan_is_a_violation():
    assert check(constant(np.ones(2), 1.0, tolerance=np.nan, kind="fit"), KEY, 2).violations == 2


@pytest.mark.parametrize(
    ("kind", "measured", "bound", "violated"),
    [
        ("upper", 1.0, np.inf, False),
        ("upper", np.inf, np.inf, False),
        ("upper", np.nan, np.inf, True),
        ("upper", np.inf, 1.0, True),
        ("upper", 1.0, -np.inf, True),
        ("lower", 1.0, -np.inf, False),
        ("lower", np.inf, np.inf, False),
        ("lower", 1.0, np.inf, True),
        ("lower", -np.inf, 1.0, True),
        ("identity", np.inf, 1.0, True),
        ("fit", 1.0, np.inf, True),
        ("fit", np.inf, 1.0, True),
        ("mean", 1.0, np.inf, True),
        ("mean", np.inf, 1.0, True),
    ],
)
def test_infinities(kind, measured, bound, violated):
    claim = constant(np.full(2, measured), bound, tolerance=0.1, kind=kind)
    assert (check(claim, KEY, 2).violations > 0) == violated


def test_slack_covers_rounding_and_no_more():
    measured = np.array([1 + 1e-10, 1 + 1e-8, 1.0])
    assert check(constant(measured, 1.0), KEY, 3).violations == 1
    assert check(constant(2 - measured, 1.0, kind="lower"), KEY, 3).violations == 1
    assert check(constant(np.array([1e-13, 1e-11]), 0.0), KEY, 2).violations == 1


def test_a_tolerance_has_no_slack_besides_itself():
    """An identity or a fit fails as soon as its deviation exceeds what the claim says."""
    for measured, violations in ((1e-15, 0), (1.1e-15, 1)):
        claim = constant(np.array([measured]), 1.05e-15, kind="identity")
        assert check(claim, KEY, 1).violations == violations
        claim = constant(np.array([measured]), 0.0, tolerance=1.05e-15, kind="fit")
        assert check(claim, KEY, 1).violations == violations


@pytest.mark.parametrize("kind", ["identity", "fit"])
def test_a_tolerance_that_is_a_thousandfold_too_wide_shows(kind):
    deviations = np.array([1e-9, 5e-9, 2e-9])

    def row(tolerance):
        if kind == "identity":
            return check(constant(deviations, tolerance, kind=kind), KEY, 3)
        return check(constant(1 - deviations, 1.0, tolerance=tolerance, kind=kind), KEY, 3)

    right, wide = row(1e-8), row(1e-5)
    assert right.tolerance_used == pytest.approx(0.5) and right.tolerance_explained
    assert wide.tolerance_used == pytest.approx(5e-4) and not wide.tolerance_explained
    assert right.holds and wide.holds  # on another machine a deviation may vanish


def test_a_tolerance_of_rounding_is_explained_where_nothing_rounds():
    eps = np.finfo(float).eps
    assert check(constant(np.zeros(2), 100 * eps, kind="identity"), KEY, 2).tolerance_explained
    assert not check(constant(np.zeros(2), 1e-9, kind="identity"), KEY, 2).tolerance_explained
    exact = check(constant(np.ones(2), 1.0, tolerance=0.0, kind="fit"), KEY, 2)
    assert exact.tolerance_used == 1.0 and exact.holds


@pytest.mark.parametrize("kind", ["upper", "lower", "mean"])
def test_other_kinds_have_no_tolerance(kind):
    row = check(constant(np.ones((4, 2)), SHARP[kind], kind=kind), KEY, 4)
    assert math.isnan(row.tolerance_used) and row.tolerance_explained


def test_a_mean_is_judged_within_three_standard_errors_and_one_percent():
    def measure(shift):
        return lambda batch: Evidence(batch + shift, 0.75)  # uniform on (0.5, 1): std 0.144

    error = 0.144 / 400**0.5
    assert check(claim_of(measure(0.0), "mean"), KEY, 400).violations == 0
    assert check(claim_of(measure(8 * error), "mean"), KEY, 400).violations == 3
    single = constant(np.array([1.005]), 1.0, kind="mean")
    assert check(single, KEY, 1).violations == 0


@pytest.mark.parametrize(("errors", "violations"), [(2.9, 0), (3.1, 1), (-2.9, 0), (-3.1, 1)])
def test_a_mean_may_miss_by_three_standard_errors(errors, violations):
    deviations = np.tile([1.0, -1.0], 200)
    error = deviations.std(ddof=1) / 20
    claim = constant(deviations + errors * error, 0.0, kind="mean")
    assert check(claim, KEY, 400).violations == violations


@pytest.mark.parametrize(("error", "violations"), [(0.009, 0), (0.011, 1)])
def test_a_mean_without_spread_may_miss_by_one_percent(error, violations):
    for measured in (1 - error, 1 + error):
        claim = constant(np.full(9, measured), 1.0, kind="mean")
        assert check(claim, KEY, 9).violations == violations


def test_a_mean_takes_only_samples_with_their_premise():
    premise = np.array([True, True, False])
    row = check(constant(np.array([0.9, 1.1, 50.0]), 1.0, premise, kind="mean"), KEY, 3)
    assert (row.premises_met, row.violations, row.tightness_min) == (2, 0, 1.0)


def with_control(measured, premise=True, kind="upper", instances=None):
    control = Control("changed", lambda batch: Evidence(measured, 1.0, premise), instances)
    return claim_of(lambda batch: Evidence(jnp.ones(len(batch)), 1.0), kind, control)


@pytest.mark.parametrize(("failures", "caught"), [(0, False), (4, False), (5, True), (100, True)])
def test_a_control_is_caught_from_five_percent_of_its_instances(failures, caught):
    row = check(with_control(np.where(np.arange(100) < failures, 2.0, 1.0)), KEY, 100)
    assert (row.control_share, row.control_caught) == (failures / 100, caught)
    assert row.holds == caught


def test_the_share_is_of_instances_that_meet_the_premise():
    measured = np.array([[2.0, 1.0], [1.0, 1.0], [2.0, 2.0], [2.0, 2.0]])
    premise = np.array([[True, True], [True, True], [True, False], [False, False]])
    assert check(with_control(measured, premise), KEY, 4).control_share == pytest.approx(2 / 3)
    assert check(with_control(measured, premise=False), KEY, 4).control_share == 0.0


@pytest.mark.parametrize("kind", ["upper", "mean"])
def test_a_control_that_cannot_be_computed_is_not_caught(kind):
    row = check(with_control(np.full(10, np.nan), kind=kind), KEY, 10)
    assert not row.control_caught and not row.holds


def test_the_control_of_a_mean_is_caught_or_not_as_a_whole():
    assert check(with_control(np.full(10, 2.0), kind="mean"), KEY, 10).control_share == 1.0
    assert check(with_control(np.full(10, 1.0), kind="mean"), KEY, 10).control_share == 0.0


def test_the_control_has_instances_of_its_own():
    seen = []
    control = Control(
        "changed",
        lambda batch: Evidence(batch, 1.0),
        lambda key, trials: seen.append(trials) or jnp.full(trials, 2.0),
    )
    row = check(claim_of(lambda batch: Evidence(batch, 1.0), control=control), KEY, 6)
    assert seen == [6]
    assert (row.violations, row.control_share) == (0, 1.0)


def without_time(row):
    return row._replace(seconds=0.0)


def test_rows_are_a_function_of_the_key_and_the_name():
    claim = claim_of(lambda batch: Evidence(batch, 1.0))
    row = without_time(check(claim, KEY, 16))
    assert without_time(check(claim, KEY, 16)) == row
    assert without_time(check(claim, jax.random.key(1), 16)) != row
    other = check(dataclasses.replace(claim, name="test.other"), KEY, 16)
    assert other.tightness_min != row.tightness_min


def test_everything_is_in_float64_and_nothing_stays_switched():
    def measure(batch):
        assert batch.dtype == jnp.float64
        # Lost in float32: the difference is two units in the last place of float64 at 1.
        return Evidence(jnp.abs((batch + 2**-40) - batch - 2**-40), 1e-15)

    assert check(claim_of(measure), KEY, 4).holds
    assert jnp.zeros(()).dtype == jnp.float32


def test_numpy_and_jax_sides_mix_and_broadcast():
    claim = constant(jnp.ones((4, 3)), np.full((1, 3), 2.0), np.ones((4, 1), bool))
    assert check(claim, KEY, 4).tightness_min == 2.0
    scalar = constant(1.0, np.full(4, 2.0))
    assert check(scalar, KEY, 4).premises_met == 4


@pytest.mark.parametrize("bound", [np.ones(3), np.ones((3, 3, 1))])
def test_sides_that_could_be_aligned_two_ways_are_refused(bound):
    with pytest.raises(ValueError, match="same number of axes, the instance first"):
        check(constant(np.ones((3, 3)), bound), KEY, 3)


def test_evidence_without_instances_is_refused():
    with pytest.raises(ValueError, match="same number of axes"):
        check(constant(1.0, 2.0), KEY, 3)


@pytest.mark.parametrize("trials", [0, -1])
def test_trials_must_be_positive(trials):
    with pytest.raises(ValueError, match=f"trials is {trials}; allowed are integers >= 1"):
        check(constant(np.ones(1), 2.0), KEY, trials)


def test_a_fit_needs_a_tolerance():
    with pytest.raises(ValueError, match="tolerance of the evidence is None"):
        check(constant(np.ones(2), 1.0, kind="fit"), KEY, 2)
