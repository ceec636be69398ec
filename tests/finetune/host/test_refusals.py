"""What cannot be adapted is said in one line, before anything runs."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from finetune.host.adapting import adapt
from tests.finetune.host.own_models import CLASSES, FEATURES, D, loss, model, net, rows, tokens


class Convolved(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(1, 4, (3,), rngs=rngs)
        self.fc = nnx.Linear(4, CLASSES, rngs=rngs)

    def __call__(self, x):
        return self.fc(self.conv(x[..., None]).mean(1))


class Normed(nnx.Module):
    def __init__(self, rngs):
        self.bn = nnx.BatchNorm(FEATURES, rngs=rngs)
        self.fc = nnx.Linear(FEATURES, CLASSES, rngs=rngs)

    def __call__(self, x):
        return self.fc(self.bn(x))


def test_convolutions_are_left_alone_or_named():
    given, batch = Convolved(nnx.Rngs(0)), rows()
    assert list(adapt(loss, given, batch, "lora", steps=9).modules) == ["fc.kernel"]
    with pytest.raises(ValueError, match=r"module conv\.kernel enters no product, only conv_"):
        adapt(loss, given, batch, "lora", steps=9, modules="conv|fc")


@pytest.mark.parametrize("dropout", [1.0, 1.5, -0.5, float("nan"), "a"])
def test_rates_of_dropout(dropout):
    with pytest.raises(ValueError, match=r"dropout is .*; allowed are numbers from 0 to 0\.99"):
        adapt(loss, net(), rows(), "lora", steps=9, dropout=dropout)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"modules": ["fc1"]}, r"modules is \['fc1'\]; allowed is a regular expression"),
        ({"train": 5}, "train is 5; allowed is regular expressions"),
        ({"optimiser": "adam"}, "optimiser is 'adam'; allowed is an OptimiserConfig"),
    ],
)
def test_arguments_of_another_type(options, words):
    with pytest.raises(ValueError, match=words):
        adapt(loss, net(), rows(), "lora", steps=9, **options)


def test_a_loss_that_returns_more():
    def both(model, batch):
        return loss(model, batch), {}

    with pytest.raises(ValueError, match="loss returns a tuple; allowed is one floating number"):
        adapt(both, net(), rows(), "lora", steps=9)


def test_nothing_matches():
    with pytest.raises(ValueError, match=r"modules is 'attn', which matches no kernel.*fc1\.ker"):
        adapt(loss, net(), rows(), "lora", steps=9, modules="attn")
    with pytest.raises(ValueError, match=r"modules is '\(', no regular expression"):
        adapt(loss, net(), rows(), "lora", steps=9, modules="(")
    with pytest.raises(ValueError, match="train has 'head', which no parameter matches"):
        adapt(loss, net(), rows(), "lora", steps=9, train=("head",))
    with pytest.raises(ValueError, match="w is in modules and in train"):
        adapt(loss, net(), rows(), "lora", steps=9, train="w", modules="w")


def test_some_layers_of_a_stack():
    with pytest.raises(ValueError, match=r"matches 1 of the 2 kernels stacked in blocks\.up"):
        adapt(loss, model("scanned"), tokens(), "lora", steps=9, modules=r"blocks\.1\.up")


def test_statistics_in_training_mode():
    given, batch = Normed(nnx.Rngs(0)), rows()
    with pytest.raises(ValueError, match=r"the loss changes bn\.mean, bn\.var of the model.*eval"):
        adapt(loss, given, batch, "lora", steps=9)
    given.eval()
    adapt(loss, given, batch, "lora", steps=9)


def test_a_gradient_without_batches():
    tuned = adapt(loss, net(), rows(), "loraga", steps=9, rank=1)
    with pytest.raises(ValueError, match="batches is empty; method 'loraga' starts from a grad"):
        tuned.init(jax.random.key(0))
    tuned = adapt(loss, net(), rows(), "loraga", steps=9, rank=1, gradient_batches=2)
    with pytest.raises(ValueError, match="gradient_batches is 2, and batches has 1; allowed are"):
        tuned.init(jax.random.key(0), [rows()])
    with pytest.raises(ValueError, match=r"gradient_batch_size is 4; .* leave it out"):
        adapt(loss, net(), rows(), "loraga", steps=9, gradient_batch_size=4)


def test_what_the_method_refuses():
    with pytest.raises(ValueError, match="accumulate is 2; method 'debora' allows 1"):
        adapt(loss, net(), rows(), "debora", steps=9, accumulate=2)
    tuned = adapt(loss, net(), rows(), "adapad", steps=9, rank=2, budget=99)
    with pytest.raises(ValueError, match="budget is 99"):
        tuned.init(jax.random.key(0))
    with pytest.raises(ValueError, match="colour is 'red', which method 'lora' does not have"):
        adapt(loss, net(), rows(), "lora", steps=9, colour="red")
    with pytest.raises(ValueError, match="accumulate is 5, and the arrays of the batch have"):
        adapt(loss, net(), rows(), "lora", steps=9, accumulate=5)


def test_integers_and_tables():
    weights = {"q": jnp.ones((FEATURES, 2), jnp.int8), "w": jnp.ones((2, CLASSES))}

    def own(model, batch):
        return jnp.mean(batch["x"] @ model["q"].astype(jnp.float32) @ model["w"])

    with pytest.raises(ValueError, match="q has dtype int8, and allowed are floating ones"):
        adapt(own, weights, rows(), "lora", steps=9, modules="q")
    with pytest.raises(ValueError, match=r"embedding is a table of rows, which method 'increlora'"):
        adapt(loss, model("listed"), tokens(), "increlora", steps=9, modules="embed")


def test_a_short_kernel_that_is_used_otherwise():
    weights = {"w": jnp.ones((FEATURES, D), jnp.bfloat16)}

    def own(model, batch):
        y = batch["x"].astype(jnp.bfloat16) @ model["w"]
        return jnp.mean(y.astype(jnp.float32)) + jnp.sum(jnp.sin(model["w"])).astype(jnp.float32)

    with pytest.raises(
        ValueError, match="w has dtype bfloat16 and, beside its product, a use in s"
    ):
        adapt(own, weights, rows(), "lora", steps=9)


def test_a_short_table_that_is_the_last_map_too():
    given = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), model("listed"))

    def wide(model, batch):
        return loss(model, batch).astype(jnp.float32)

    with pytest.raises(ValueError, match="has dtype bfloat16 and, beside its rows, a use in prod"):
        adapt(wide, given, tokens(), "lora", steps=9, modules="embed")


def test_a_kernel_without_a_gradient():
    def own(model, batch):
        return jnp.mean(batch["x"] @ jax.lax.stop_gradient(model["d"]) @ model["w"])

    weights = {"d": jnp.ones((FEATURES, D)), "w": jnp.ones((D, CLASSES))}
    with pytest.raises(ValueError, match=r"module d gets no gradient \(stop_gradient\)"):
        adapt(own, weights, rows(), "lora", steps=9, modules="d|w")


def test_a_loss_that_is_no_number():
    with pytest.raises(ValueError, match=r"loss returns float32\[12, 3\]; allowed is one float"):
        adapt(lambda model, batch: model(batch["x"]), net(), rows(), "lora", steps=9)


def test_peft_needs_names(tmp_path):
    tuned = adapt(loss, net(), rows(), "lora", steps=9, rank=1)
    with pytest.raises(ValueError, match="names is None; PEFT needs torch's names of fc1, fc2, w"):
        tuned.export_peft(tmp_path / "peft", tuned.init(jax.random.key(0)), base="b")
    assert list(tmp_path.iterdir()) == []
