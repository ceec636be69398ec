"""A program that finds no room is refused before it runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rankwise import memory


def spread(x):
    """Keeps (n, n) numbers in between."""
    return jnp.sort(x[:, None] * x, axis=0).sum()


def test_what_fits_is_what_it_was():
    program = jax.jit(spread)
    guarded = memory.guarded(program, "--n", "smaller")
    x = jnp.arange(3.0)
    np.testing.assert_array_equal(guarded(x), program(x))
    assert guarded.lower(x).compile() is not None


def test_every_shape_is_looked_at(monkeypatch):
    calls = []

    def program(x):
        calls.append(x.shape)
        return jax.jit(spread)(x)

    program.lower = jax.jit(spread).lower
    guarded = memory.guarded(program, "a step of --batch_size=500", "--accumulate=N")
    monkeypatch.setattr(memory, "free", lambda device: 100_000)
    guarded(jnp.ones(4))
    message = r"--batch_size=500 needs \d\.\d GB beside .*; 0\.0 GB are free: --accumulate=N"
    with pytest.raises(ValueError, match=message):
        guarded(jnp.ones(5000))
    assert calls == [(4,)]


def test_the_batch_is_where_it_is_said_to_be(monkeypatch):
    guarded = memory.guarded(jax.jit(lambda x, scale: scale * spread(x)), "--n", "less", batch=0)
    monkeypatch.setattr(memory, "free", lambda device: 100_000)
    guarded(jnp.ones(4), 2.0)
    with pytest.raises(ValueError, match="--n needs"):
        guarded(jnp.ones(5000), 2.0)


def test_free_memory_of_a_host(tmp_path, monkeypatch):
    system, group = tmp_path / "meminfo", tmp_path / "group"
    monkeypatch.setattr(memory, "SYSTEM", system)
    monkeypatch.setattr(memory, "GROUP", group)
    device = jax.devices("cpu")[0]
    assert memory.free(device) is None
    system.write_text("MemTotal: 9 kB\nMemAvailable:  7 kB\nSwapFree: 1 kB\n")
    assert memory.free(device) == 8 * 1024
    group.mkdir()
    (group / "memory.current").write_text("1000\n")
    (group / "memory.max").write_text("max\n")
    assert memory.free(device) == 8 * 1024
    (group / "memory.max").write_text("5000\n")
    assert memory.free(device) == 4000
