"""adapter_config.json: what is read, and what is refused by name."""

import json
import math

import pytest

from finetune.peft.config import FILE, parse, pattern_key, read_config

LORA = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["query"]}
ADALORA = {"peft_type": "ADALORA", "init_r": 4, "lora_alpha": 16, "target_modules": ["query"]}


def test_lora_scales():
    config = parse({**LORA, "rank_pattern": {"key": 2}, "alpha_pattern": {r"layer\.1\.\w+": 3.5}})
    assert [config.rank_of(p) for p in ("layer.0.query", "layer.0.key", "monkey")] == [4, 2, 4]
    assert config.scale_of("layer.0.key", 2) == 4
    assert config.scale_of("layer.1.key", 2) == 1.75
    assert parse({**LORA, "use_rslora": True}).scale_of("query", 4) == 4


def test_adalora_scale_is_that_of_the_first_rank():
    pattern = {"layer.0.query.lora_E": [True, False, True, True], "q.lora_E.default": [False] * 4}
    config = parse({**ADALORA, "rank_pattern": pattern, "use_rslora": True})
    assert [config.rank_of(p) for p in ("layer.0.query", "q", "other")] == [3, 0, 4]
    assert config.scale_of("layer.0.query", 3) == 16 / (4 + 1e-5)
    assert parse({**ADALORA, "lora_alpha": 0}).scale_of("q", 1) == 4 / (4 + 1e-5)


def test_defaults_are_those_of_peft():
    config = parse({"peft_type": "LORA", "r": None, "lora_alpha": None, "rank_pattern": None})
    assert (config.rank, config.alpha, config.base, config.modules_to_save) == (8, 8, None, ())
    assert parse({"peft_type": "ADALORA"}).rank == 12


def test_heads_that_peft_saves_unasked():
    config = parse({**LORA, "task_type": "SEQ_CLS", "modules_to_save": ["pooler", "classifier"]})
    assert config.modules_to_save == ("pooler", "classifier", "score")


def test_first_pattern_wins():
    assert pattern_key(["query", "layer.0.query"], "layer.0.query") == "query"
    assert pattern_key(["^layer", "0"], "layer.0.query") is None


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"peft_type": "LOHA"}, "peft_type is 'LOHA'; allowed are 'LORA', 'ADALORA'"),
        ({"peft_type": None}, "peft_type is None"),
        ({"use_dora": "yes"}, "use_dora is 'yes'; allowed is true or false"),
        ({"bias": "some"}, "bias is 'some'; allowed are 'none', 'all', 'lora_only'"),
        ({"init_lora_weights": "pissa"}, "'pissa', which changes the base"),
        ({"init_lora_weights": "olora"}, "'olora', which changes the base"),
        ({"lora_bias": True}, "lora_bias is True, which is not known"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"target_parameters": ["x"]}, "target_parameters"),
        ({"some_new_variant": {"on": 1}}, "some_new_variant"),
        ({"r": 0}, "r is '0'; allowed is an integer >= 1"),
        ({"lora_alpha": "8"}, "lora_alpha"),
        ({"lora_alpha": math.nan}, "lora_alpha is 'nan'; allowed is a finite number"),
        ({"alpha_pattern": {"x": math.inf}}, "alpha_pattern"),
        ({"use_rslora": "yes"}, "use_rslora is 'yes'; allowed is true or false"),
        ({"rank_pattern": {"x": True}}, "rank_pattern"),
        ({"rank_pattern": {"(": 2}}, "rank_pattern"),
        ({"alpha_pattern": [1]}, "alpha_pattern"),
        ({"modules_to_save": "classifier"}, "modules_to_save"),
        ({"target_modules": "("}, "target_modules"),
        ({"target_modules": 3}, "target_modules"),
    ],
)
def test_refused_by_name(entries, words, tmp_path):
    (tmp_path / FILE).write_text(json.dumps({**LORA, **entries}))
    with pytest.raises(ValueError) as error:
        read_config(tmp_path)
    assert words in str(error.value) and FILE in str(error.value)
    assert "\n" not in str(error.value)


def test_all_problems_at_once():
    with pytest.raises(ValueError, match=r"bias.*kasa_config"):
        parse({**LORA, "use_dora": True, "bias": "some", "kasa_config": {"beta": 1}})


def test_variants_that_are_off_are_no_obstacle():
    parse({**LORA, "use_dora": False, "loftq_config": {}, "a_later_variant": None, "other": False})


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match=r"adapter_config.json cannot be read"):
        read_config(tmp_path)
    (tmp_path / FILE).write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        read_config(tmp_path)
