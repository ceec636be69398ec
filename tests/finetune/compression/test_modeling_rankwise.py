"""transformers on written folders, through the file that lies in them: the same outputs."""

import dataclasses

import jax
import numpy as np
import pytest

from finetune import models
from finetune.compression import directions, folders, forms
from finetune.models.bert import BertConfig
from finetune.weights import saving
from finetune.weights.naming import named_leaves
from tests.finetune.models.conftest import transformers  # noqa: F401  a fixture
from tests.finetune.models.tiny import BERT, LLAMA_CONFIG, random_model

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs
IDS = np.arange(1, 9)[None]


def written(root, kind, form):
    """A tiny network of one layer whose maps have half of their rank."""
    if kind == "bert":
        model = random_model(BertConfig(num_labels=2, **{**BERT, "num_hidden_layers": 1}))
    else:
        changes = {"num_hidden_layers": 1, "tie_word_embeddings": kind == "tied"}
        model = random_model(dataclasses.replace(LLAMA_CONFIG, **changes))
    saving.save(root / "source", model)
    maps = {}
    leaves = named_leaves(model)
    for path in models.linears(model):
        if path not in ("lm_head", "classifier"):
            kernel = np.asarray(leaves[f"{path}.weight"].value)
            best = directions.leading(kernel, np.eye(len(kernel)))
            maps[path] = best.factors(forms.largest_rank(form, *kernel.shape, 0.8))
    folders.write(root / "new", root / "source", model.base, maps, form, record={})
    return root / "new"


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("llama", "factors"),
        ("tied", "pivot"),
        pytest.param("bert", "factors", marks=pytest.mark.thorough),
    ],
)
def test_the_same_outputs(kind, form, tmp_path, transformers, monkeypatch):  # noqa: F811
    torch = pytest.importorskip("torch")
    modules = transformers.dynamic_module_utils
    monkeypatch.setattr(modules, "HF_MODULES_CACHE", str(tmp_path / "cache"))
    place = written(tmp_path, kind, form)
    auto = transformers.AutoModel if kind == "bert" else transformers.AutoModelForCausalLM
    theirs = auto.from_pretrained(place, trust_remote_code=True)
    names = list(theirs.state_dict())
    assert any(name.endswith("low_rank.a" if form == "factors" else "pivot.rest") for name in names)
    with torch.no_grad():
        got = theirs(torch.tensor(IDS))
    _, own = models.load(place, labels=2 if kind == "bert" else 0, key=jax.random.key(0))
    wanted = own({"input_ids": IDS, "attention_mask": np.ones_like(IDS)})
    if kind == "bert":
        np.testing.assert_allclose(got.last_hidden_state, wanted.hidden_states[-1], atol=1e-4)
    else:
        np.testing.assert_allclose(got.logits, wanted.logits, atol=1e-4)
    half = auto.from_pretrained(place, trust_remote_code=True, dtype="bfloat16")
    assert {value.dtype for value in half.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        assert torch.isfinite(half(torch.tensor(IDS))[0]).all()
    with pytest.raises(ValueError, match="trust_remote_code"):
        auto.from_pretrained(place, trust_remote_code=False)
