"""The rank of a module follows the budget, whichever method deals it out."""

import jax
import jax.numpy as jnp
import pytest

from finetune.methods import OPTIONS, MethodConfig, make
from finetune.optimiser import OptimiserConfig

MODULES = {name: jnp.ones((24, 20)) for name in ("fc1", "fc2", "fc3")}


@pytest.mark.parametrize("name", sorted(OPTIONS["budget"].methods))
@pytest.mark.parametrize(
    ("budget", "rank", "room"),
    [(None, None, 0), (6, None, 0), (13, None, 10), (30, None, 20), (13, 5, 5)],
)
def test_a_module_may_have_twice_its_share(name, budget, rank, room):
    method = make(MethodConfig(name, budget=budget, rank=rank), OptimiserConfig(), 400)
    theta, _ = method.prepare(jax.random.key(0), MODULES, None)
    least = room or {"increlora": 8}.get(name, 4)
    assert all(leaves["a"].shape == (24, least) for leaves in theta.values())


def test_a_budget_that_no_rank_limits_is_not_refused():
    settings = MethodConfig("adapad", budget=200).settings.resolved(modules=36, total=1000)
    assert (settings.rank, settings.budget) == (12, 200)
