"""A run that stops at a proof, at the end of its rounds, or where nothing moves any more."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deflation import Regression, Status, start, until_proved


def begun(values, rank=2, **options):
    return start(Regression.from_matrix(jnp.diag(jnp.array(values))), rank, **options)


def test_it_stops_at_the_proof_and_not_before():
    _, soon = until_proved(begun([4.0, 2.0, 1.0, 0.5]), 1e-2, 200)
    state, late = until_proved(begun([4.0, 3.8, 1.0, 0.5]), 1e-2, 200)
    assert soon.status is late.status is Status.CONVERGED
    assert int(soon.rounds) == 8 < int(late.rounds) < 200
    sizes = np.linalg.norm(late.components.b, axis=1) * np.linalg.norm(late.components.a, axis=1)
    assert np.all(late.bounds <= 1e-2 * sizes)
    # The state is where the run stands and stops at no tolerance: it can go on to a closer proof.
    _, closer = until_proved(state, 1e-4, 200)
    assert int(closer.rounds) > int(late.rounds) and closer.status is Status.CONVERGED


def test_it_ends_with_its_rounds_or_where_nothing_moves():
    _, spent = until_proved(begun([1.0, 0.99, 0.98, 0.5]), 1e-4, 20)
    assert int(spent.rounds) == 20 and spent.status is not Status.CONVERGED
    # Three equal values: no round proves single components, and after a few nothing moves.
    _, tied = until_proved(begun([1.0, 1.0, 1.0], rank=3), 1e-4, 10_000)
    assert int(tied.rounds) < 100 and tied.status is not Status.CONVERGED


@pytest.mark.parametrize(
    ("options", "arguments", "text"),
    [
        ({"tolerance": 0.125}, (1e-3, 9), r"state stops by itself at tolerance 0.125; allowed"),
        ({}, (0.0, 9), "tolerance is 0.0; allowed are numbers > 0"),
        ({}, (1e-3, 0), "rounds is 0; allowed are integers >= 1"),
    ],
)
def test_refused(options, arguments, text):
    with pytest.raises(ValueError, match=text):
        until_proved(begun([2.0, 1.0], rank=1, **options), *arguments)


def test_a_trace_is_refused():
    state = begun([2.0, 1.0], rank=1)
    with pytest.raises(ValueError, match="state is traced; allowed is"):
        jax.jit(lambda state: until_proved(state, 1e-3, 9)[1].bounds)(state)
