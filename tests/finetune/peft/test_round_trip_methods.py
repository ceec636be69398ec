"""Every method's adapter after some training: in our files, in PEFT, merged, or refused in a line.

A method that is new in `finetune.methods.NAMES` is tested without being named here, and those that
store what another one stores only when asked for.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune import optimiser
from finetune.methods import Dense, Refused, Scaled, make
from finetune.models.distilbert import DistilBertConfig
from finetune.peft import export, export_merged, load
from finetune.training import adapter_files, network, state, step
from tests.finetune.methods.axis import ALIKE, beside
from tests.finetune.models.tiny import DISTILBERT, FAST, batch, random_model
from tests.finetune.peft import torch_side
from tests.finetune.training import small
from tests.finetune.training.test_loop import config

pytestmark = torch_side.QUIET
CONFIG = DistilBertConfig(num_labels=3, **{**DISTILBERT, "n_layers": 1})
OPTIMISER = optimiser.OptimiserConfig(learning_rate=0.03, warmup=2)
STEPS, ROWS = 12, 6
# Their changes are pairs as LoRA's, dense as GaLore's, stacked or gated as AdaLoRA's, scaled
# (test_dora.py) or none.
STORED = ("dora", "untouched", "rslora", "pissa", "adapad", "increlora", "sora", "cola")
STORED += ("loraone", "onestep", "deeplora", "full", "head")
MODULES = r"q_lin|lin1"
"""Two modules, of two shapes: as many as in the problem that the settings of tests are made for."""
compiled = functools.partial(jax.jit, compiler_options=FAST)


@functools.cache
def net():
    return network.from_module(random_model(CONFIG), "train", jax.random.key(0))


def rows(number):
    """A batch of the training data, with labels that depend on the tokens."""
    inputs = batch(number, ROWS)
    labels = (inputs["input_ids"][:, 0] % 3).astype(np.int32)
    return {**inputs, "labels": labels, "weight": np.ones(ROWS, np.float32)}


def dense_gradients(kernels):
    """dL/dW of the untrained network on one batch."""
    base, one = net(), rows(0)

    def loss(kernels):
        ops = step.adapted(None, {}, {}, kernels)
        logits = base.forward(base.params, step.inputs(one), ops, None)
        return small.task().loss(logits, one["labels"], one["weight"])

    return compiled(jax.grad(loss))(kernels)


class Trained:
    """A method after some steps, and what it predicts."""

    def __init__(self, name):
        self.method = make(config(name), OPTIMISER, STEPS)
        self.kernels = net().kernels(net().adapted(MODULES) if self.method.beside == "head" else ())
        head = net().trained(True, self.method.beside)
        needed = dense_gradients(self.kernels) if self.method.needs_gradients else None
        head_tx = optimiser.optimiser(OPTIMISER, STEPS)
        key = jax.random.key(1)
        now = state.start(self.method, self.kernels, head, head_tx, key, needed)
        predict = compiled(step.predict(net(), self.method))
        if self.method.settle is not None:

            def loss(theta, aux):
                logits = predict(theta, aux, now.head, net().params, rows(0))
                return small.task().loss(logits, rows(0)["labels"], rows(0)["weight"])

            theta, aux = self.method.settle(loss, now.theta, now.aux)
            now = now._replace(theta=theta, aux=aux)
        one = compiled(
            step.train_step(net(), self.method, small.task().loss, head_tx, step.StepConfig())
        )
        for number in range(STEPS):
            now, _ = one(now, net().params, rows(number))
        self.state = now
        self.logits = np.asarray(
            predict(now.theta, now.aux, now.head, net().params, rows(99)), np.float64
        )
        self.changes = {
            path: self.method.export(self.kernels[path], leaves, now.aux[path])
            for path, leaves in now.theta.items()
        }

    @property
    def forms(self):
        return {type(change) for change in self.changes.values()}


@functools.lru_cache(maxsize=2)
def trained(name):
    return Trained(name)


@compiled
def ours(modules, head, params, inputs):
    """What the base answers with an adapter; one program for adapters of one structure."""
    return adapter_files.predict(net(), modules, head)(params, inputs)


def outputs(theirs, model):
    return torch_side.logits(theirs[0], model, batch(99, ROWS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, theirs):
    """The base as a model folder."""
    place = tmp_path_factory.mktemp("base") / "model"
    export_merged(place, random_model(CONFIG), {}, {}, base="random")
    return place


def read(theirs, folder):
    return theirs[1].AutoModelForSequenceClassification.from_pretrained(folder).eval()


@pytest.mark.parametrize("name", beside(ALIKE + STORED))
def test_an_adapter_gives_the_same_logits_everywhere(name, folder, theirs, tmp_path):
    one = trained(name)
    if not one.changes:
        change = one.method.export(jnp.ones((2, 2)), {}, {})
        refused({net().adapted()[0]: change}, tmp_path, change.reason)
        return
    plain = read(theirs, folder)
    without = ours({}, one.state.head, net().params, rows(99))
    assert np.abs(without - one.logits).max() > 1e-3, "the adapters learnt nothing"
    if Refused in one.forms:
        reason = next(c.reason for c in one.changes.values() if isinstance(c, Refused))
        refused(one.changes, tmp_path, reason)
        with pytest.raises(ValueError, match="cannot be exported"):
            adapter_files.exported(one.method, one.state, one.kernels, {})
        return
    in_our_files(one, tmp_path)
    merged(one, theirs, tmp_path)
    if Dense in one.forms:
        refused(one.changes, tmp_path, "a dense change")
    else:
        in_peft(one, plain, folder, theirs, tmp_path)


def in_our_files(one, tmp_path):
    """Saved, loaded, and put on the base."""
    adapter = adapter_files.exported(one.method, one.state, one.kernels, {"base": "random"})
    adapter_files.save(tmp_path / "a.safetensors", adapter)
    again = adapter_files.load(tmp_path / "a.safetensors")
    close(ours(again.modules, again.head, net().params, rows(99)), one.logits)


def merged(one, theirs, tmp_path):
    """One model that transformers loads by itself."""
    export_merged(tmp_path / "merged", random_model(CONFIG), one.changes, one.state.head, base="b")
    close(outputs(theirs, read(theirs, tmp_path / "merged")), one.logits)


def in_peft(one, plain, folder, theirs, tmp_path):
    """PEFT loads the folder, with every module that has components; we read it back."""
    peft = theirs[2]
    head = {**net().head(), **one.state.head}
    export(tmp_path / "x", one.changes, head, CONFIG, base=str(folder))
    adapted = peft.PeftModel.from_pretrained(plain, tmp_path / "x").eval()
    close(outputs(theirs, adapted), one.logits)
    live = {path: c.a.shape[1] for path, c in one.changes.items() if c.a.shape[1]}
    result = {
        name.removeprefix("base_model.model."): layer.r["default"]
        for name, layer in adapted.named_modules()
        if isinstance(layer, peft.tuners.lora.LoraLayer)
    }
    assert result == live and live
    again = load(tmp_path / "x", CONFIG)
    assert again.config.dora == (Scaled in one.forms)
    for path, change in again.adapters.items():
        jax.tree.map(np.testing.assert_array_equal, change, one.changes[path])


def refused(changes, tmp_path, words):
    """The exporter says why in one line, and writes nothing."""
    with pytest.raises(ValueError) as error:
        export(tmp_path / "x", changes, net().head(), CONFIG, base="b")
    assert words in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "x").exists()


def close(left, right):
    difference = np.abs(np.asarray(left, np.float64) - right).max()
    print(f"{difference:.1e}")
    assert difference < torch_side.LOGITS
