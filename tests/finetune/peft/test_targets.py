"""Which modules a configuration means, by PEFT's rules."""

import pytest

from finetune.peft.config import NOTHING, parse
from finetune.peft.targets import adapted, replaced

QUERY = [f"bert.encoder.layer.{i}.attention.self.query" for i in range(3)]
DENSE = "bert.pooler.dense"


def chosen(**entries):
    config = parse({"peft_type": "LORA", **entries})
    return [i for i, path in enumerate([*QUERY, DENSE]) if adapted(config, path)]


@pytest.mark.parametrize(
    ("entries", "modules"),
    [
        ({}, []),
        ({"target_modules": ["query"]}, [0, 1, 2]),
        ({"target_modules": ["uery"]}, []),
        ({"target_modules": [QUERY[1], "dense"]}, [1, 3]),
        ({"target_modules": r".*\.[02]\..*query"}, [0, 2]),
        ({"target_modules": "query"}, []),
        ({"target_modules": NOTHING}, []),
        ({"target_modules": ["query"], "exclude_modules": [QUERY[0]]}, [1, 2]),
        ({"target_modules": ["query", "dense"], "exclude_modules": ".*layer.*"}, [3]),
        ({"target_modules": ["query"], "layers_to_transform": [0, 2]}, [0, 2]),
        ({"target_modules": ["query"], "layers_to_transform": 1}, [1]),
        ({"target_modules": ["query"], "layers_to_transform": []}, [0, 1, 2]),
        (
            {"target_modules": ["query"], "layers_to_transform": [1], "layers_pattern": "layer"},
            [1],
        ),
        (
            {"target_modules": ["query"], "layers_to_transform": [1], "layers_pattern": ["h"]},
            [],
        ),
        ({"target_modules": ["query", "dense"], "modules_to_save": ["pooler"]}, [0, 1, 2]),
        ({"target_modules": [QUERY[1]], "layers_to_transform": [0]}, [1]),
    ],
)
def test_adapted(entries, modules):
    assert chosen(**entries) == modules


def test_the_same_as_peft():
    peft = pytest.importorskip("peft", reason="comparison with PEFT's own rule")
    from peft.tuners.tuners_utils import check_target_module_exists

    cases = test_adapted.pytestmark[0].args[1]
    for entries, modules in cases:
        if entries.get("target_modules") in (None, NOTHING):
            continue  # looked at elsewhere in PEFT
        config = peft.LoraConfig(**entries)
        got = [bool(check_target_module_exists(config, path)) for path in [*QUERY, DENSE]]
        assert [i for i, result in enumerate(got) if result] == modules, entries


def test_replaced():
    config = parse({"peft_type": "LORA", "modules_to_save": ["classifier", "pooler"]})
    names = ["classifier.weight", "pre_classifier.bias", "bert.pooler.dense.weight", "key.weight"]
    assert [replaced(config, name) for name in names] == [True, True, True, False]
    assert not replaced(config, "classifier")  # a parameter of the network itself, no module
