"""Models of other libraries, whose code knows nothing of adapters."""

import importlib
import importlib.util
import pathlib
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from finetune.host.adapting import adapt
from tests.finetune.host.own_models import cross_entropy

KEY = jax.random.key(0)


def trained(loss, model, batch, method, jit=jax.jit, **options):
    """The adapted model after three steps of which the last loss is below the first."""
    tuned = adapt(loss, model, batch, method, steps=20, learning_rate=0.02, **options)
    state, losses = tuned.init(KEY), []
    for _ in range(3):
        state, metrics = tuned.step(state, batch)
        losses.append(float(metrics["loss"]))
    plain, bound = jit(loss), jax.jit(tuned.bind(loss))
    np.testing.assert_allclose(losses[0], plain(model, batch), rtol=1e-5)
    assert losses[-1] < losses[0]
    merged = tuned.merge(state)
    np.testing.assert_allclose(plain(merged, batch), bound(state, batch), rtol=1e-5)
    assert type(merged) is type(model)
    return tuned, state


@pytest.mark.thorough  # kernels laid out as torch's: test_discovery.py
def test_an_equinox_model():
    """Its kernels are (out, in), its calls are of one row and mapped."""
    equinox = pytest.importorskip("equinox", reason="equinox is not installed")
    model = equinox.nn.MLP(6, 3, 8, 1, key=jax.random.key(1))
    batch = {"x": jax.random.normal(KEY, (12, 6)), "y": jnp.arange(12) % 3}

    def loss(model, batch):
        return cross_entropy(jax.vmap(model)(batch["x"]), batch["y"])

    tuned, state = trained(loss, model, batch, "dora", equinox.filter_jit, rank=2)
    roles = {n: (m.ins, m.outs, m.paths) for n, m in tuned.modules.items()}
    assert roles["layers.0.weight"] == ((1,), (0,), ("layers.0",))
    assert state.theta["layers.0"]["a"].shape == (6, 2)


@pytest.fixture
def llama(monkeypatch):
    """tunix's Llama 3; its package imports libraries that the model does without."""
    spec = importlib.util.find_spec("tunix")
    if spec is None:
        pytest.skip("tunix is not installed")
    root = pathlib.Path(spec.submodule_search_locations[0]).parent
    for name in ("tunix", "tunix.models", "tunix.models.llama3", "tunix.generate", "tunix.utils"):
        package = types.ModuleType(name)
        package.__path__ = [str(root / name.replace(".", "/"))]
        monkeypatch.setitem(sys.modules, name, package)
    try:
        yield importlib.import_module("tunix.models.llama3.model")
    except ImportError as error:
        pytest.skip(f"tunix's Llama 3 cannot be imported: {error}")
    finally:
        for name in [name for name in sys.modules if name.startswith("tunix.")]:
            monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.thorough  # products by einsum: test_discovery.py
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its own calls of jax
def test_the_llama_of_tunix(llama):
    """Products by a class of its own for einsum."""
    sizes = {"num_layers": 1, "vocab_size": 20, "embed_dim": 16, "hidden_dim": 24}
    heads = {"num_heads": 2, "head_dim": 8, "num_kv_heads": 1}
    config = llama.ModelConfig(**sizes, **heads, rope_theta=10000, norm_eps=1e-5)
    model = llama.Llama3(config, rngs=nnx.Rngs(0))
    ids = jax.random.randint(jax.random.key(1), (3, 5), 0, 20)
    batch = {
        "ids": ids,
        "places": jnp.broadcast_to(jnp.arange(5), (3, 5)),
        "mask": jnp.broadcast_to(jnp.tril(jnp.ones((5, 5), bool)), (3, 5, 5)),
    }

    def loss(model, batch):
        logits, _ = model(batch["ids"], batch["places"], None, batch["mask"])
        return cross_entropy(logits[:, :-1].astype(jnp.float32), batch["ids"][:, 1:])

    tuned, state = trained(loss, model, batch, "lora", rank=2)
    assert len(tuned.modules) == 8
    assert sum(tuned.ranks(state).values()) == 16
