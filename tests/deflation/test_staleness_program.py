"""Stale predecessors in the compiled program: what waits for what, and how often is exchanged."""

import re

import jax
import jax.extend
import numpy as np
import pytest

from deflation import (
    alternating,
    gradient_descent,
    krylov,
    start,
)
from deflation.rounds.run import _advance
from tests.deflation.problems import (
    D,
    M,
    from_data,
)
from tests.deflation.test_sharded import COLLECTIVE, computations, mesh_of
from tests.deflation.test_staleness import TAUS


def sharded_program(tau, **options):
    state = start(from_data(), 4, method="sharded", mesh=mesh_of(2), staleness=tau, **options)
    inputs = (state.problem, state.solver, state.controls, state.progress)
    return lambda *given: _advance(*given, 5, state.plan, 5), inputs


# Fresh, tests/deflation/test_sharded.py counts them; what waits for the exchange is held below.
@pytest.mark.thorough
@pytest.mark.parametrize("tau", [1])
def test_one_all_gather_per_round(tau):
    """In the compiled program: one in the body of the loop over rounds, and that of the last round,
    which has no next one beside it."""
    run, inputs = sharded_program(tau, tolerance=1e-3)
    bodies = computations(jax.jit(run).lower(*inputs).compile().as_text())
    found = {name: COLLECTIVE.findall(part) for name, part in bodies.items()}
    found = {name: hits for name, hits in found.items() if hits}
    assert [len(hits) for hits in found.values()] == [1, 1]
    for ((shape, operation),) in found.values():
        sizes = [int(size) for size in re.match(r"f32\[([\d,]+)\]", shape)[1].split(",")]
        assert operation == "all-gather" and np.prod(sizes) == 4 * (M + D + 3)
    entry = next(part for part in bodies.values() if part.startswith("ENTRY"))
    loops = [re.search(rf"while\(.*body=%?{re.escape(name)}\b", entry) for name in found]
    assert sum(loop is not None for loop in loops) == 1


def equations(jaxpr):
    """All equations of a program, with those inside of calls, loops and branches."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from equations(inner)


def holds(equation, name) -> bool:
    inner = jax.extend.core.jaxprs_in_params(equation.params)
    return name in equation.primitive.name or any(
        holds(e, name) for jaxpr in inner for e in jaxpr.eqns
    )


def between(tau, solver) -> tuple[int, int, int]:
    """In the body of the loop over rounds: operations that multiply matrices, those of them that
    read what the all-gather of the same iteration gives, and those that it reads."""
    run, inputs = sharded_program(tau, solver=solver)
    every = equations(jax.make_jaxpr(run)(*inputs).jaxpr)
    loop = next(e for e in every if e.primitive.name == "while" and holds(e, "all_gather"))
    body = loop.params["body_jaxpr"].jaxpr.eqns
    products = [e for e in body if holds(e, "dot_general")]
    gathers = [e for e in body if holds(e, "all_gather")]
    assert len(gathers) == 1

    def reading(sources):
        """Equations that read, over any number of steps, what the sources give."""
        given = {v for e in sources for v in e.outvars}
        readers = []
        for e in body:
            if any(v in given for v in e.invars if isinstance(v, jax.extend.core.Var)):
                given.update(e.outvars)
                readers.append(e)
        return readers

    after, before = reading(gathers), reading(products)
    return (
        len(products),
        sum(any(e is other for other in after) for e in products),
        sum(any(e is other for other in before) for e in gathers),
    )


@pytest.mark.parametrize("solver", [alternating(), gradient_descent(steps=2), krylov(2)])
@pytest.mark.parametrize("tau", TAUS)
def test_products_and_the_exchange_of_an_iteration_wait_for_each_other_only_when_fresh(tau, solver):
    products, products_waiting, gathers_waiting = between(tau, solver)
    assert products > 0 and products_waiting == 0
    assert gathers_waiting == (1 if tau == 0 else 0)
