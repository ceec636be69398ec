"""The number of components is chosen while they are found, the same by every way to run."""

import jax.numpy as jnp
import numpy as np
import pytest

from deflation import (
    Regression,
    Status,
    explained_energy,
    noise_floor,
    parallel,
    sequential,
    sharded,
)
from tests.deflation.problems import (
    SIZES,
    D,
    M,
    R,
    by_turns,
    close,
    from_data,
    from_matrix,
    maps,
    one_line,
    thorough,
)

WAYS = {
    "sequential": lambda p, rule, **o: sequential(p, D, grow=rule, budget=300, **o),
    "parallel": lambda p, rule, **o: parallel(p, D, grow=rule, rounds=60, **o),
    "sharded": lambda p, rule, **o: sharded(p, D, grow=rule, rounds=60, **o),
    "at once": lambda p, rule, **o: parallel(p, D, grow=rule, rounds=60, staggered=False, **o),
    "resting": lambda p, rule, **o: parallel(p, D, grow=rule, rounds=60, advance=False, **o),
    "stale": lambda p, rule, **o: parallel(p, D, grow=rule, rounds=60, staleness=2, **o),
}
# Each rule and way is programs of its own; on several devices
# test_tolerance_ends_a_run_that_has_enough_components holds them.
TWO = [way if way in ("sequential", "parallel") else thorough(way) for way in WAYS]
SHARES = np.cumsum(np.square(SIZES)) / np.sum(np.square(SIZES))
EDGE = M**0.5 + D**0.5


@pytest.mark.parametrize("rank", range(1, D + 1))
@pytest.mark.parametrize("way", TWO)
def test_explained_energy(way, rank):
    """The fewest components that explain the share: just below what `rank` of them do."""
    solution = WAYS[way](from_matrix(), explained_energy(float(SHARES[rank - 1]) - 1e-3))
    assert int(solution.rank) == rank
    sizes = np.linalg.norm(maps(solution.components), axis=(1, 2))
    np.testing.assert_allclose(sizes[:rank], SIZES[:rank], rtol=1e-4)
    np.testing.assert_array_equal(sizes[rank:], 0)
    assert solution.status is Status.CONVERGED


@pytest.mark.parametrize("rank", [1, 3, D])
@pytest.mark.parametrize("way", [way if way == "parallel" else thorough(way) for way in WAYS])
def test_noise_floor(way, rank):
    """Components above std (sqrt m + sqrt d): the floor lies just below component `rank`."""
    solution = WAYS[way](from_matrix(), noise_floor(0.95 * SIZES[rank - 1] / EDGE))
    assert int(solution.rank) == rank
    np.testing.assert_array_equal(solution.components.b[rank:], 0)


@pytest.mark.parametrize("way", TWO)
def test_at_least_one_component_is_kept(way):
    assert int(WAYS[way](from_matrix(), noise_floor(100.0)).rank) == 1


def test_one_more_component_is_looked_at_than_kept():
    """A sequential run stops looking: later components get no round at all."""
    solution = WAYS["sequential"](from_matrix(), explained_energy(0.8))
    assert int(solution.rank) == 2 and int(solution.rounds) == 2 * 60
    solution = WAYS["sequential"](from_matrix(), noise_floor(0.95 * SIZES[1] / EDGE))
    assert int(solution.rank) == 2 and int(solution.rounds) == 3 * 60


@pytest.mark.parametrize("way", ["sequential", thorough("parallel"), thorough("sharded")])
def test_estimated_noise(way):
    """Two components and noise in Y of known size, which the data themselves tell."""
    std, n = 0.2, 400
    g = np.random.default_rng(0)
    x = g.normal(size=(D, n))
    signal = from_matrix(SIZES[:2]).target @ x / np.sqrt(n) * 4
    y = signal + std * g.normal(size=(M, n))
    problem = Regression.from_data(x, y)
    rule = noise_floor()
    # M (n - d) squares of N(0, std^2): the estimate is good to a few per cent.
    np.testing.assert_allclose(rule.threshold(problem), std * EDGE, rtol=0.1)
    assert int(WAYS[way](problem, rule).rank) == 2


RULES = (explained_energy(0.8), noise_floor(0.95 * SIZES[1] / EDGE))


@pytest.mark.parametrize(
    ("way", "rule"),
    [
        *by_turns(["sequential", "parallel"], RULES),
        ("sharded", RULES[0]),
        thorough("sharded", RULES[1]),
    ],
)
def test_tolerance_ends_a_run_that_has_enough_components(way, rule):
    """Components that are not wanted must not be waited for.

    Moves within the tolerance end the run; that errors are within it as well is said by bounds.
    """
    solution = WAYS[way](from_matrix(), rule, tolerance=1e-4)
    assert int(solution.rank) == 2
    assert solution.status in (Status.CONVERGED, Status.NOT_PROVED)
    assert int(solution.rounds) < 50


# Their number and their sizes test_explained_energy holds.
@pytest.mark.thorough
def test_kept_components_are_those_of_a_run_of_that_rank():
    problem = from_data()
    grown = parallel(problem, D, grow=explained_energy(0.8), rounds=80)
    plain = parallel(problem, int(grown.rank), rounds=80)
    close(maps(grown.components)[: int(grown.rank)], maps(plain.components), "float32", 5)


def test_rules_of_sizes():
    sizes = jnp.array([3.0, 2.0, 1.0, 0.0])
    energy = explained_energy(0.9)
    # Against the root of an energy.
    assert bool(energy.more(jnp.asarray(13.5**0.5), sizes, 3)) is False
    assert bool(energy.more(jnp.asarray(14.5**0.5), sizes, 3)) is True
    assert int(energy.keep(jnp.asarray(3.0), sizes)) == 1
    assert int(energy.keep(jnp.asarray(9.1**0.5), sizes)) == 2
    floor = noise_floor(1.0)
    assert bool(floor.more(jnp.asarray(1.5), sizes, 2)) is True
    assert bool(floor.more(jnp.asarray(1.5), sizes, 3)) is False
    assert int(floor.keep(jnp.asarray(1.5), sizes)) == 2
    assert int(floor.keep(jnp.asarray(9.0), sizes)) == 1


@pytest.mark.parametrize("make", [from_matrix, lambda: from_data(n=D), lambda: from_data(n=3)])
def test_noise_cannot_be_estimated_without_spare_columns(make):
    with pytest.raises(ValueError) as error:
        parallel(make(), R, grow=noise_floor())
    assert "std" in one_line(error)
