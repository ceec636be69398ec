"""What is in an exported folder, and what is refused before there is one."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from finetune.adapters.method import Dense, Factors, Refused
from finetune.models.bert import BertConfig
from finetune.peft import Card, export, load
from finetune.peft.config import NOTHING
from finetune.peft.export import head_modules, settings_of
from tests.finetune.models.tiny import BERT
from tests.finetune.peft.made import CONFIG, adapters, factors, frame, heads

OWN = {"base": "mine", "task_type": None}


def read(folder):
    with safe_open(folder / "adapter_model.safetensors", framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return json.loads((folder / "adapter_config.json").read_text()), tensors, file.metadata()


def test_folder_of_deberta(tmp_path):
    changes, head = adapters("deberta-v2"), heads("deberta-v2")
    export(
        tmp_path / "x",
        changes,
        head,
        CONFIG["deberta-v2"],
        base="org/base",
        revision="abc",
        card=Card(method="adapad"),
    )
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    raw, tensors, metadata = read(tmp_path / "x")
    live = sorted(path for path, change in changes.items() if change.a.shape[1])
    assert metadata == {"format": "pt"}
    assert raw["peft_type"] == "LORA" and raw["task_type"] == "SEQ_CLS"
    assert raw["base_model_name_or_path"] == "org/base" and raw["revision"] == "abc"
    assert raw["target_modules"] == live and len(live) < len(changes)
    assert raw["rank_pattern"] == {path: changes[path].a.shape[1] for path in live}
    assert raw["alpha_pattern"] == raw["rank_pattern"]
    assert raw["modules_to_save"] == ["pooler", "classifier"]
    assert raw["init_lora_weights"] is True and raw["use_rslora"] is False
    expected = {f"base_model.model.{p}.lora_A.weight": changes[p].a.T for p in live}
    expected |= {f"base_model.model.{p}.lora_B.weight": changes[p].b.T for p in live}
    expected |= {f"base_model.model.{n}": h.T for n, h in head.items()}
    assert set(tensors) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(tensors[name], value, err_msg=name)
    card = (tmp_path / "x" / "README.md").read_text()
    assert "method: adapad" in card
    assert "| `deberta.encoder.layer.*.attention.self.query_proj` | 0 | 1 |" in card


def test_heads_by_architecture(tmp_path):
    for kind, extra, expected in (
        ("bert", (), ["classifier"]),
        ("bert", ("bert.pooler",), ["bert.pooler", "classifier"]),
        ("distilbert", (), ["pre_classifier", "classifier"]),
    ):
        folder = tmp_path / f"{kind}{len(extra)}"
        head = heads(kind, extra)
        export(folder, adapters(kind), head, CONFIG[kind], base="b")
        assert read(folder)[0]["modules_to_save"] == expected
        assert set(load(folder, CONFIG[kind]).heads) == set(head)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F", "view", "jax"])
def test_memory_layout_does_not_matter(tmp_path, order, dtype):
    plain = adapters("mlp", ranks=(3,), dtype=np.float32)

    def laid_out(x):
        if order == "view":
            return np.repeat(x, 2, axis=1).astype(dtype)[:, ::2]
        return jnp.asarray(x) if order == "jax" else np.array(x, dtype, order=order)

    changes = {path: Factors(*map(laid_out, change)) for path, change in plain.items()}
    export(tmp_path / "x", changes, {}, CONFIG["mlp"], **OWN)
    got = load(tmp_path / "x", CONFIG["mlp"]).adapters
    for path, change in plain.items():
        assert got[path].a.dtype == (np.float32 if order == "jax" else dtype)
        np.testing.assert_array_equal(got[path].a, change.a)
        np.testing.assert_array_equal(got[path].b, change.b)


def test_half_precision_is_widened(tmp_path):
    change = factors(np.random.default_rng(0), (12, 8), 2)
    half = Factors(*(jnp.asarray(x, jnp.bfloat16) for x in change))
    export(tmp_path / "x", {"fc1": half}, {}, CONFIG["mlp"], **OWN)
    got = load(tmp_path / "x", CONFIG["mlp"]).adapters["fc1"]
    assert got.a.dtype == np.float32
    np.testing.assert_array_equal(got.a, np.asarray(half.a, np.float32))


# The folder's name is drawn with the ranks, as a folder is written once.
@settings(max_examples=25, deadline=None)
@given(ranks=st.lists(st.integers(0, 9), min_size=3, max_size=3), seed=st.integers(0, 2**16))
def test_any_ranks_come_back_bitwise(tmp_path_factory, ranks, seed):
    folder = tmp_path_factory.mktemp("ranks") / "x"
    paths = ["fc1", "fc2", "fc3"]
    changes = adapters("mlp", ranks=ranks, seed=seed, paths=paths)
    export(folder, changes, {}, CONFIG["mlp"], **OWN)
    raw, tensors, _ = read(folder)
    got = load(folder, CONFIG["mlp"]).adapters
    assert list(got) == [path for path, rank in zip(paths, ranks, strict=True) if rank]
    assert raw["target_modules"] == (list(got) or NOTHING)
    assert len(tensors) == 2 * len(got)
    for path, change in got.items():
        for ours, given_ in zip(change, changes[path], strict=True):
            assert ours.tobytes() == np.ascontiguousarray(given_).tobytes()


def test_the_same_adapter_gives_the_same_bytes(tmp_path):
    for name, seed in (("x", 0), ("y", 0), ("z", 1)):
        export(
            tmp_path / name, adapters("bert", seed=seed), heads("bert"), CONFIG["bert"], base="b"
        )
    x, y, z = ((tmp_path / n / "adapter_model.safetensors").read_bytes() for n in "xyz")
    assert x == y != z


def test_changed_base_as_twice_the_rank(tmp_path):
    """W' = W - a0 b0 trained to W' + a b is W + [a, -a0] [b; b0]."""
    rng = np.random.default_rng(0)
    first, last = factors(rng, (12, 8), 2), factors(rng, (12, 8), 2)
    both = Factors(np.hstack([last.a, -first.a]), np.vstack([last.b, first.b]))
    export(tmp_path / "x", {"fc1": both}, {}, CONFIG["mlp"], **OWN)
    got = load(tmp_path / "x", CONFIG["mlp"]).adapters["fc1"]
    assert got.a.shape == (12, 4)
    np.testing.assert_allclose(got.a @ got.b, last.a @ last.b - first.a @ first.b, atol=1e-6)


QUERY = "bert.encoder.layer.0.attention.self.query"


def wrong(**changed):
    """A good export of BERT with something changed."""
    good = adapters("bert", ranks=(2,))
    return good | changed.get("adapters", {}), heads("bert") | changed.get("heads", {})


def ones(*shapes):
    return Factors(*(np.ones(shape, np.float32) for shape in shapes))


BAD = {
    "no such module": ({"bert.nothing": ones((16, 2), (2, 16))}, {}, "no module bert.nothing"),
    "in": ({QUERY: ones((15, 2), (2, 16))}, {}, r"query.*\(15, 2\).*allowed are \(16, r\)"),
    "out": ({QUERY: ones((16, 2), (2, 15))}, {}, r"query.*\(2, 15\)"),
    "ranks": ({QUERY: ones((16, 2), (3, 16))}, {}, r"query has factors of shapes"),
    "axes": ({QUERY: ones((16,), (2, 16))}, {}, r"query has factors of shapes \(16,\)"),
    "nan": ({QUERY: Factors(np.full((16, 1), np.nan), np.ones((1, 16)))}, {}, r"query\.a.*NaN"),
    "integers": ({QUERY: Factors(np.ones((16, 1), int), np.ones((1, 16)))}, {}, "int64"),
    "dense": ({QUERY: Dense(np.ones((16, 16)))}, {}, "query is no product.*dense.*merge"),
    "refused": ({QUERY: Refused("it is quantised")}, {}, "query is no product.*quantised"),
    "head module": ({}, {"bert.encoder.x.weight": np.ones((2, 2))}, "belongs to no head"),
    "head name": ({}, {"classifier.gain": np.ones(3)}, "no parameter classifier.gain"),
    "head shape": ({}, {"classifier.weight": np.ones((3, 16))}, r"\(3, 16\); allowed is \(16, 3\)"),
    "half a head": ({}, {"bert.pooler.dense.bias": np.ones(16)}, "lack bert.pooler.dense.weight"),
    "both": (
        {"classifier": ones((16, 1), (1, 3))},
        {},
        "classifier has an adapter and is in heads",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_refused_before_anything_is_written(case, tmp_path):
    modules, head, words = BAD[case]
    changes, head = wrong(adapters=modules, heads=head)
    with pytest.raises(ValueError, match=words) as error:
        export(tmp_path / "x", changes, head, CONFIG["bert"], base="b")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_heads_that_peft_would_miss(tmp_path):
    """Without them PEFT stops, or goes on with a pooler that nobody trained."""
    head = heads("deberta-v2")
    classifier = {name: leaf for name, leaf in head.items() if "pooler" not in name}
    for given_ in ({}, classifier):
        with pytest.raises(ValueError, match=r"heads lack pooler\.dense\.bias.*pooler"):
            export(tmp_path / "x", adapters("deberta-v2"), given_, CONFIG["deberta-v2"], base="b")
    export(tmp_path / "x", adapters("bert"), {}, CONFIG["bert"], base="b", task_type=None)
    assert read(tmp_path / "x")[0]["modules_to_save"] is None


def test_many_problems_are_counted(tmp_path):
    changes = {f"m{i}": ones((2, 1), (1, 2)) for i in range(9)}
    with pytest.raises(ValueError, match=r"m0; .*; and 5 more$"):
        export(tmp_path / "x", changes, {}, CONFIG["mlp"], **OWN)


def test_mean_pooling_is_refused(tmp_path):
    config = BertConfig(num_labels=3, pooling="mean", **BERT)
    with pytest.raises(ValueError, match="pooling is 'mean'"):
        export(tmp_path / "x", adapters("bert"), heads("bert"), config, base="b")


def test_existing_folder_is_kept(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(ValueError, match="exists; nothing is overwritten"):
        export(tmp_path / "x", {}, {}, CONFIG["mlp"], **OWN)
    assert list((tmp_path / "x").iterdir()) == []


def test_tables_are_adapted_too(tmp_path):
    path = "bert.embeddings.word_embeddings"
    changes = adapters("bert", ranks=(3,), paths=[path, QUERY])
    assert frame("bert").embed[path] == (50, 16)
    export(tmp_path / "x", changes, heads("bert"), CONFIG["bert"], base="b")
    _, tensors, _ = read(tmp_path / "x")
    assert tensors[f"base_model.model.{path}.lora_embedding_A"].shape == (3, 50)
    assert tensors[f"base_model.model.{path}.lora_embedding_B"].shape == (16, 3)
    got = load(tmp_path / "x", CONFIG["bert"]).adapters
    jax.tree.map(np.testing.assert_array_equal, got, dict(sorted(changes.items())))


def test_a_module_without_a_pattern_would_have_the_scale_one():
    """PEFT's scale is alpha / r: one for those listed and for whatever it adds to them."""
    entries = settings_of(
        {"a.q": 2, "a.v": 5}, base="b", revision=None, task_type=None, modules_to_save=()
    )
    assert entries["lora_alpha"] == entries["r"] == 5
    assert entries["alpha_pattern"] == entries["rank_pattern"] == {"a.q": 2, "a.v": 5}


def test_a_head_is_no_prefix_of_another():
    """`score` has no parameters in `scorer`."""
    result = types.SimpleNamespace(optional=("score", "scorer"))
    assert head_modules(result, {"scorer.weight": 0}) == ["scorer"]
