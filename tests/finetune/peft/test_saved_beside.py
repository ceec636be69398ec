"""What PEFT saves beside factors, and under which names: its own files are read, to its logits."""

import jax
import numpy as np
import pytest

from finetune import models
from finetune.peft import load, merged
from finetune.training import adapter_files as stored
from finetune.training.network import from_module
from finetune.weights import saving
from tests.finetune.models.tiny import CONFIGS, LLAMA_CONFIG, batch, random_model, run
from tests.finetune.peft import torch_side

pytestmark = torch_side.QUIET
CASES = {
    "lm_head": {"target_modules": ["q_proj", "lm_head"]},
    "embed_tokens": {"target_modules": ["q_proj", "embed_tokens"]},
    "norm": {"target_modules": ["q_proj"], "modules_to_save": ["input_layernorm"]},
}


def of_peft(theirs, kind, folder, config):
    """An adapter that PEFT made on our model in `folder`, all of it random, and its network."""
    torch, transformers, peft = theirs
    base = getattr(transformers, kind).from_pretrained(folder / "base").eval()
    network = peft.get_peft_model(base, peft.LoraConfig(**config)).eval()
    generator = torch.Generator().manual_seed(0)
    for name, leaf in network.named_parameters():
        if leaf.requires_grad:
            change = 0.3 * torch.randn(leaf.shape, generator=generator)
            leaf.data = leaf.data + change if "norm" in name else change
    # True is what PEFT chooses itself, with a warning, where such a module has factors.
    network.save_pretrained(
        folder / "adapter", save_embedding_layers=kind == "AutoModelForCausalLM"
    )
    return network


@pytest.mark.parametrize("case", CASES)
def test_maps_of_the_vocabulary_and_norms(case, theirs, tmp_path):
    model = random_model(LLAMA_CONFIG)
    saving.save(tmp_path / "base", model)
    config = {"task_type": "CAUSAL_LM", **CASES[case]}
    network = of_peft(theirs, "AutoModelForCausalLM", tmp_path, config)
    inputs = {name: leaf for name, leaf in batch().items() if name != "token_type_ids"}
    expected = torch_side.logits(theirs[0], network, inputs)
    result = load(tmp_path / "adapter", model.config)
    net = from_module(model)
    there = inputs["attention_mask"][..., None]
    for got in (
        jax.jit(stored.predict(net, result.adapters, result.heads))(net.params, inputs),
        run(merged(model, result.adapters, result.heads), inputs).logits,
    ):
        assert np.abs(there * (got - expected)).max() < torch_side.LOGITS


def test_names_of_the_bare_encoder(theirs, tmp_path):
    model = random_model(CONFIGS["bert"])
    saving.save(tmp_path / "base", model)
    config = {"target_modules": ["query", "value"], "rank_pattern": {"layer.0.*query": 2}}
    network = of_peft(theirs, "AutoModel", tmp_path, {"task_type": "FEATURE_EXTRACTION", **config})
    inputs = batch()
    torch = theirs[0]
    with torch.no_grad():
        tensors = {name: torch.tensor(leaf).long() for name, leaf in inputs.items()}
        expected = network(**tensors).last_hidden_state.numpy()
    result = load(tmp_path / "adapter", model.config)
    assert result.adapters["bert.encoder.layer.0.attention.self.query"].a.shape[1] == 2
    got = run(merged(model, result.adapters, {}), inputs).hidden_states[-1]
    there = inputs["attention_mask"][..., None]
    assert np.abs(there * (got - expected)).max() < torch_side.LOGITS


def test_factors_on_a_table_are_read_on_the_device():
    """Arrays of the host in a compiled program, as a reader gives them."""
    model = random_model(CONFIGS["bert"])
    net = from_module(model)
    path = "bert.embeddings.word_embeddings"
    rows, size = models.embeddings(model)[path]
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(rows, 2)), rng.normal(size=(2, size))
    change = {path: stored.Factors(a.astype(np.float32), b.astype(np.float32))}
    got = jax.jit(stored.predict(net, change, {}))(net.params, batch())
    np.testing.assert_allclose(got, run(merged(model, change, {}), batch()).logits, atol=1e-5)
