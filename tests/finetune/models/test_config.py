"""config.json becomes a configuration, or one clear line."""

import json

import pytest

from finetune.models.bert import BertConfig
from finetune.models.config import parse
from finetune.models.deberta import DebertaV2Config
from finetune.models.llama_config import LlamaConfig
from finetune.models.registry import read_config
from tests.finetune.models.tiny import BERT, DATA, DEBERTA, LLAMA

V3 = {**DEBERTA, **DebertaV2Config.written}

# Entries of published files that change nothing.
PUBLISHED = {
    "architectures": ["BertForMaskedLM"],
    "gradient_checkpointing": False,
    "position_embedding_type": "absolute",
    "directionality": "bidi",
    "pooler_type": "first_token_transform",
    "transformers_version": "4.6.0.dev0",
    "id2label": {"0": "a", "1": "b"},
    "use_cache": True,
    "pad_token_id": 0,
    "model_type": "bert",
}


def write(folder, raw):
    (folder / "config.json").write_text(json.dumps(raw))
    return folder


def test_entries_and_defaults():
    config = parse(BertConfig, {**BERT, **PUBLISHED, "layer_norm_eps": 1e-6}, num_labels=5)
    assert (config.num_labels, config.hidden_size, config.layer_norm_eps) == (5, 16, 1e-6)
    assert config.hidden_dropout_prob == 0.1
    assert hash(config) == hash(parse(BertConfig, {**BERT, "layer_norm_eps": 1e-6}, num_labels=5))


@pytest.mark.parametrize("terms", ["p2c|c2p", "C2P | P2C", ["p2c", "c2p"]])
def test_deberta_terms(terms):
    config = parse(DebertaV2Config, {**V3, "pos_att_type": terms}, num_labels=2)
    assert config.longest == 32
    assert parse(DebertaV2Config, {**V3, "max_relative_positions": 9}, num_labels=2).longest == 9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"position_embedding_type": "relative_key"}, "'relative_key'; allowed: 'absolute'"),
        ({"hidden_act": "swish2"}, "hidden_act is 'swish2'; allowed: 'gelu' or"),
        ({"is_decoder": True}, "is_decoder is True; allowed: null or false"),
        ({"hidden_size": 16.0}, "hidden_size is 16.0; allowed: integers >= 1"),
        ({"hidden_size": True}, "hidden_size is True"),
        ({"hidden_dropout_prob": 1.0}, "allowed: numbers in [0, 1)"),
        ({"layer_norm_eps": 0}, "layer_norm_eps is 0; allowed: numbers > 0"),
        ({"num_attention_heads": 3}, "hidden_size is 16; allowed are multiples of the 3 heads"),
        ({"rotary_base": 1e4}, "rotary_base is 10000.0; allowed: null or false"),
        ({"alibi": True}, "alibi is True; allowed: null or false"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads is {'0': [1]}; allowed: null or false"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is {'bits': 4}; allowed"),
    ],
)
def test_refused_entries(change, words):
    with pytest.raises(ValueError) as error:
        parse(BertConfig, {**BERT, **change}, num_labels=2)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"share_att_key": False}, "share_att_key is False; allowed: True"),
        ({"position_biased_input": 0}, "position_biased_input is 0; allowed: False"),
        ({"pos_att_type": "c2p"}, "pos_att_type is 'c2p'"),
        ({"conv_kernel_size": 3}, "conv_kernel_size is 3"),
        ({"attention_head_size": 64}, "attention_head_size is 64; allowed: null"),
        ({"pooler_hidden_size": 8}, "pooler_hidden_size is 8; allowed: 16"),
        ({"position_buckets": 64}, "position_buckets is 64; allowed are integers < 62"),
    ],
)
def test_other_debertas_are_refused(change, words):
    with pytest.raises(ValueError) as error:
        parse(DebertaV2Config, {**V3, **change}, num_labels=2)
    assert words in str(error.value)


def test_problems_come_together():
    raw = {k: v for k, v in V3.items() if k not in ("relative_attention", "vocab_size")}
    with pytest.raises(ValueError) as error:
        parse(DebertaV2Config, {**raw, "hidden_act": "x", "alibi": 1}, num_labels=2)
    for words in ("vocab_size is missing", "relative_attention is missing", "'x'", "alibi"):
        assert words in str(error.value)


def test_direct_construction_is_checked():
    with pytest.raises(ValueError, match="num_labels is 0"):
        BertConfig(num_labels=0, **BERT)
    with pytest.raises(ValueError, match="pooling is 'max'; allowed: 'cls' or 'mean'"):
        BertConfig(num_labels=2, pooling="max", **BERT)


def test_folders(tmp_path):
    assert read_config(DATA / "deberta_v2", labels=2).position_buckets == 8
    assert read_config(DATA / "bert", labels=2, pooling="mean").pooling == "mean"
    with pytest.raises(ValueError, match=r"config\.json cannot be read: No such file"):
        read_config(tmp_path, labels=2)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        read_config(tmp_path, labels=2)
    with pytest.raises(ValueError, match="holds a list; allowed is an object"):
        read_config(write(tmp_path, []), labels=2)
    with pytest.raises(ValueError, match="model_type is 'gpt2'; allowed are 'bert', 'roberta', "):
        read_config(write(tmp_path, {"model_type": "gpt2"}), labels=2)
    with pytest.raises(ValueError, match=r"config\.json: configuration of a bert model: voc"):
        read_config(write(tmp_path, {"model_type": "bert"}), labels=2)


@pytest.mark.parametrize(
    ("kind", "base", "notes"),
    [
        (LlamaConfig, LLAMA, {"unsloth_fixed": True, "unsloth_tiled_mlp": True}),
        (BertConfig, BERT, {"cell": {}, "emb_size": 16, "structure": [], "pre_trained": ""}),
        (BertConfig, BERT, {"transformers.js_config": {"dtype": "q8"}, "trained_on": "2020"}),
        (LlamaConfig, LLAMA, {"some_head_of_tomorrow": 3, "tiled_mlp_rope": True}),
    ],
)
def test_notes_of_other_programs_are_one_warning(kind, base, notes, caplog):
    with caplog.at_level("WARNING"):
        parse(kind, {**base, **notes}, num_labels=2)
        parse(kind, {**base, **notes}, num_labels=2)
    (record,) = caplog.records
    line = f"config.json of a {kind.model_type} model: not read: {', '.join(sorted(notes))}"
    assert record.getMessage() == line


@pytest.mark.parametrize(
    ("name", "off"),
    [
        ("rope_type", "default"),
        ("sliding_window", None),
        ("qk_norm", False),
        ("num_local_experts", None),
        ("residual_multiplier", 1.0),
        ("layer_types", ["full_attention"] * 2),
    ],
)
def test_parts_of_other_networks_are_refused_unless_off(name, off):
    assert parse(LlamaConfig, {**LLAMA, name: off}, num_labels=2).num_labels == 2
    with pytest.raises(ValueError, match=f"{name} is 3; allowed"):
        parse(LlamaConfig, {**LLAMA, name: 3, "unsloth_version": "1"}, num_labels=2)


# The entries beside the sizes in the file of SmolLM2-135M-Instruct, of the copy of it by unsloth
# and of the one for transformers.js.
SMOLLM2 = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "is_llama_config": True,
    "mlp_bias": False,
    "pretraining_tp": 1,
    "rope_interleaved": False,
    "rope_scaling": None,
    "rope_theta": 100000,
    "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16", "fp16": "float16"}},
    "unsloth_fixed": True,
    "use_cache": True,
}


def test_published_smollm2(caplog):
    with caplog.at_level("WARNING"):
        config = parse(LlamaConfig, {**LLAMA, **SMOLLM2}, num_labels=0)
    assert config.rope_parameters.rope_theta == 100000
    (record,) = caplog.records
    assert record.getMessage().endswith("not read: transformers.js_config, unsloth_fixed")
    with pytest.raises(ValueError, match="rope_interleaved is True; allowed: null or false"):
        parse(LlamaConfig, {**LLAMA, **SMOLLM2, "rope_interleaved": True}, num_labels=0)
