"""The adapters of a reader's model in PEFT, on its torch twin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.host.adapting import adapt
from tests.finetune.host.own_models import loss, net, rows

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
NAMES = {"fc1": "first", "fc2": "second", "w": "last"}


class Twin(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        kernels = {"first": model.fc1, "second": model.fc2}
        for name, layer in kernels.items():
            setattr(self, name, linear(layer.kernel[...], layer.bias[...]))
        self.last = linear(model.w[...], None)

    def forward(self, x):
        return self.last(torch.relu(self.second(torch.relu(self.first(x)))))


def linear(kernel, bias):
    layer = torch.nn.Linear(*kernel.shape, bias=bias is not None)
    layer.weight.data = torch.tensor(np.array(kernel.T))
    if bias is not None:
        layer.bias.data = torch.tensor(np.array(bias))
    return layer


@pytest.mark.parametrize("method", ["lora", pytest.param("dora", marks=pytest.mark.thorough)])
def test_the_twin_with_the_folder_says_the_same(tmp_path, method):
    model, batch = net(), rows()
    tuned = adapt(loss, model, batch, method, steps=20, rank=2, learning_rate=0.1)
    state = tuned.init(jax.random.key(0))
    for _ in range(6):
        state, _ = tuned.step(state, batch)
    tuned.export_peft(tmp_path / "peft", state, base="twin", names=NAMES)
    other = peft.PeftModel.from_pretrained(Twin(model).eval(), tmp_path / "peft")
    got = other(torch.tensor(np.array(batch["x"]))).detach().numpy()
    expected = jax.jit(tuned.bind(lambda model, x: model(x)))(state, batch["x"])
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    assert np.max(np.abs(got - model(batch["x"]))) > 1e-3  # a change that could be missed
    with pytest.raises(ValueError, match="exists; nothing is overwritten"):
        tuned.export_peft(tmp_path / "peft", state, base="twin", names=NAMES)


def test_what_peft_does_not_know(tmp_path):
    tuned = adapt(loss, net(), rows(), "galore", steps=20, rank=1)
    state = tuned.init(jax.random.key(0))
    with pytest.raises(ValueError, match="fc1 has a dense change"):
        tuned.export_peft(tmp_path / "peft", state, base="twin", names=NAMES)
    tuned = adapt(loss, net(), rows(), "lora", steps=20, rank=1, train="w")
    state = tuned.init(jax.random.key(0))
    with pytest.raises(ValueError, match="w is trained whole"):
        tuned.export_peft(tmp_path / "peft", state, base="twin", names=NAMES)
    with pytest.raises(ValueError, match="names gives two kernels one name"):
        tuned.export_peft(
            tmp_path / "peft",
            state._replace(head={}),
            base="twin",
            names={"fc1": "same", "fc2": "same"},
        )
    assert list(tmp_path.iterdir()) == []
    assert jnp.size(state.head["w"]) == 24
