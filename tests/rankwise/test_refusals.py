"""What other functions than the ways refuse, in a line, before anything is compiled."""

import numpy as np
import pytest

from deflation import (
    Budget,
    Regression,
    advance,
    alternating,
    budgets,
    exact,
    explained_energy,
    finish,
    gradient_descent,
    krylov,
    load,
    noise_floor,
    parallel,
    save,
    sequential,
    start,
    step,
)
from deflation.solvers.gradient_descent import GradientDescent
from tests.deflation.problems import R, matrix
from tests.rankwise.test_checks import INF, NAN, NOT_INTEGERS, NOT_POSITIVE, PROBLEM, case, refused

OPERATOR = Regression.from_operator(lambda v: v, lambda u: u, (4, 4))


def identity(v):
    return v


def operator(matvec=identity, rmatvec=identity, shape=(4, 4), **options):
    return lambda: Regression.from_operator(matvec, rmatvec, shape, **options)


OTHERS = [
    *(case("rank", lambda v=v: exact(PROBLEM, v)) for v in (*NOT_INTEGERS, 6)),
    *(case("rank", lambda v=v: exact(OPERATOR, v)) for v in (0, 4)),
    *(case("problem", lambda v=v: exact(v, 2)) for v in (None, matrix(), "data")),
    *(case("sweeps", lambda v=v: alternating(v)) for v in NOT_INTEGERS),
    *(case("depth", lambda v=v: krylov(v)) for v in NOT_INTEGERS),
    *(case("steps", lambda v=v: gradient_descent(0.1, steps=v)) for v in NOT_INTEGERS),
    *(case("step_size", lambda v=v: gradient_descent(v)) for v in (0, 0.0, *NOT_POSITIVE)),
    *(
        case("step_size", lambda v=v: gradient_descent(np.array(v)))
        for v in ([[0.1], [0.1], [-1]], [[0.1], [NAN]], [[0.0]], [[1j]], [["a"]], [[[0.1]]])
    ),
    case("step_size", lambda: parallel(PROBLEM, R, GradientDescent(np.full((2, 1), 0.1)))),
    case("step_size", lambda: parallel(PROBLEM, R, GradientDescent(np.full((1, R), 0.1)))),
    case("step_size", lambda: sequential(PROBLEM, R, gradient_descent(np.full((2, 1), 0.1)))),
    *(
        case("coordinates", lambda v=v: gradient_descent(coordinates=v))
        for v in ("row", None, 3, ["whitened"])
    ),
    *(
        case("share", lambda v=v: explained_energy(v))
        for v in (0, 1.5, NAN, INF, -1, 1j, "0.5", None, [0.5, 0.6])
    ),
    *(
        case("std", lambda v=v: noise_floor(v))
        for v in (0, -1, NAN, INF, 1j, "0.5", [0.5, 0.6], np.ones((2, 2)))
    ),
    case("std", lambda: parallel(PROBLEM, R, grow=noise_floor())),
    *(case("rounds", lambda v=v: advance(start(PROBLEM, R), v)) for v in NOT_INTEGERS),
    *(case("state", lambda v=v: advance(v, 1)) for v in (None, "state", PROBLEM)),
    *(case("state", lambda v=v: step(v)) for v in (None, "state", PROBLEM)),
    *(case("state", lambda v=v: finish(v)) for v in (None, "state", PROBLEM)),
    case("state", lambda: save("run.npz", PROBLEM)),
    case("state", lambda: load("run.npz", PROBLEM)),
    *(case("path", lambda v=v: save(v, start(PROBLEM, R))) for v in (None, 3)),
    *(case("path", lambda v=v: load(v, start(PROBLEM, R))) for v in (None, 3)),
    *(
        case("shape", operator(shape=v))
        for v in (5, None, "44", (4,), (4, 4, 4), (0, 4), (4, -1), (4, 4.0), (True, 4), "4")
    ),
    *(case("matvec", operator(matvec=v)) for v in (None, "f", np.eye(4))),
    *(case("rmatvec", operator(rmatvec=v)) for v in (None, "f", np.eye(4))),
    case("matvec", operator(shape=(4, 5)), "(5,)", "(4,)"),
    case("rmatvec", operator(matvec=lambda v: v[:3], shape=(3, 4)), "(3,)", "(4,)"),
    case("matvec", operator(matvec=lambda v: (v, v))),
    case("matvec", operator(matvec=lambda v: None)),
    case("matvec", operator(matvec=lambda v: v[None])),
    case("matvec", operator(matvec=lambda v: v + 0j)),
    *(
        case("dtype", operator(dtype=v))
        for v in (complex, np.complex64, int, bool, "abc", np.float16, "S3", 3)
    ),
    case("update", lambda: OPERATOR.update(np.ones((4, 2)), np.ones((4, 2))), "operator"),
]


@pytest.mark.parametrize(("name", "call", "words"), OTHERS)
def test_other_functions(name, call, words):
    refused(name, call, words)


def families():
    for function, options in (
        (budgets.equal, {}),
        (budgets.alpha_family, {"alpha": 0.5}),
        (budgets.linear_family, {}),
    ):
        good = {"rank": 3, "total": 30, "minimum": 1} | options
        for name in ("rank", "total", "minimum"):
            for number, value in enumerate(NOT_INTEGERS):
                bad = good | {name: value}
                label = f"{function.__name__}-{name}-{number}"
                yield case(name, lambda f=function, b=bad: f(**b), id=label)
        yield case("total", lambda f=function, o=options: f(3, 5, minimum=2, **o), "6")
    for value in (NAN, INF, "x", None, 1j, [1.0, 2.0]):
        yield case("alpha", lambda v=value: budgets.alpha_family(3, 30, v))
    for value in ("most", None, 3, ["more"]):
        yield case("order", lambda v=value: budgets.linear_family(3, 30, v))
    for value in ((), (0,), (1, -1), (1.5,), (True,), "12", 5, None, (NAN,), ((1, 2),)):
        yield case("budget", lambda v=value: Budget(v))
    for value in (5, None, (1, 2), "x"):
        yield case("budget", lambda v=value: budgets.adaptive(v))


@pytest.mark.parametrize(("name", "call", "words"), list(families()))
def test_budgets(name, call, words):
    refused(name, call, words)


PREFIXES = [
    *(case("rank", lambda v=v: exact(PROBLEM, R).components.prefix(v)) for v in (-1, R + 1, 1.5)),
]


@pytest.mark.parametrize(("name", "call", "words"), PREFIXES)
def test_prefixes(name, call, words):
    refused(name, call, words)
