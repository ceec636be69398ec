"""Tables of modules that lie together are those of modules one by one."""

import jax.numpy as jnp
import numpy as np

from finetune.adapters import tables
from finetune.models.parts.layered import Layered, layered


def test_what_is_taken_for_each_module():
    """A loop, columns and rows over layers that lie together say what they say of a plain table."""
    table = {
        f"h.{i}.{n}": {"w": jnp.arange(2.0) + i, "n": jnp.float32(i)}
        for i in range(3)
        for n in "ab"
    }
    table["c"] = {"w": -jnp.ones(2), "n": jnp.float32(7)}
    together = layered(table, [[f"h.{i}" for i in range(3)]])
    assert len(together.groups) == 2

    def both(own, other):
        return {"sum": own["w"].sum() + other["n"]}

    for given in (together, table):
        result = tables.each(both, together, given)
        assert isinstance(result, Layered) and result.groups == together.groups
        wanted = tables.each(both, table, table)
        assert {p: float(e["sum"]) for p, e in result.items()} == {
            p: float(e["sum"]) for p, e in wanted.items()
        }
    numbers = [tables.rows(tables.column(t, "n")) for t in (together, table)]
    np.testing.assert_array_equal(*numbers)
    assert numbers[0].tolist() == [7, 0, 0, 1, 1, 2, 2]
    back = tables.dealt(numbers[0], together)
    assert isinstance(back, Layered) and back.groups == together.groups
    assert dict(back) == dict(tables.dealt(numbers[1], table))
