"""Adapters with magnitudes: our folders in PEFT, PEFT's folders here, and what is refused."""

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from finetune.adapters.method import Factors, Scaled
from finetune.peft import export, load, merged
from finetune.peft.config import parse
from finetune.training import adapter_files, network
from finetune.weights.naming import named_leaves
from tests.finetune.models.tiny import batch, run
from tests.finetune.peft import made, torch_side

pytestmark = torch_side.QUIET
EMBEDDING = "bert.embeddings.word_embeddings"


def scaled(kind, ranks=(1, 3), paths=None, seed=3):
    """Random factors, and lengths that are not those of the base."""
    rng = np.random.default_rng(seed)
    shapes = made.frame(kind).shapes
    return {
        path: Scaled(*change, (0.5 + rng.random(shapes[path][1])).astype(np.float32))
        for path, change in made.adapters(kind, ranks, paths=paths).items()
    }


def with_changes(kind, changes, head):
    """Logits of the base with an adapter in activation form."""
    net = network.from_module(made.model(kind), "train", jax.random.key(0))
    predict = jax.jit(adapter_files.predict(net, changes, head))
    return predict(net.params, {**batch(), "labels": None, "weight": None})


@pytest.mark.parametrize("kind", ["bert", pytest.param("distilbert", marks=pytest.mark.thorough)])
def test_peft_loads_what_we_write(kind, theirs, base, tmp_path):
    torch, _, peft = theirs
    paths = made.body(kind) + ([EMBEDDING] if kind == "bert" else [])
    changes, head = scaled(kind, paths=paths), made.heads(kind)
    plain = base(made.model(kind))
    before = torch_side.logits(torch, plain, batch())
    export(tmp_path / "x", changes, head, made.CONFIG[kind], base=str(tmp_path / "base"))
    theirs_now = peft.PeftModel.from_pretrained(plain, tmp_path / "x").eval()
    got = torch_side.logits(torch, theirs_now, batch())
    assert np.abs(got - before).max() > 0.1
    assert np.abs(with_changes(kind, changes, head) - got).max() < torch_side.LOGITS
    whole = run(merged(made.model(kind), changes, head), batch()).logits
    assert np.abs(whole - got).max() < torch_side.LOGITS
    theirs_now.save_pretrained(tmp_path / "again", save_embedding_layers=False)
    first, second = (load(tmp_path / name, made.CONFIG[kind]) for name in ("x", "again"))
    assert second.config.dora
    jax.tree.map(np.testing.assert_array_equal, first[:2], second[:2])
    jax.tree.map(np.testing.assert_array_equal, first.adapters, dict(sorted(changes.items())))


def test_what_peft_makes_is_read(theirs, base, tmp_path):
    torch, _, peft = theirs
    torch.manual_seed(0)
    settings = peft.LoraConfig(
        task_type="SEQ_CLS",
        r=2,
        lora_alpha=6,
        use_rslora=True,
        use_dora=True,
        target_modules=["query", "dense"],
        exclude_modules=["pooler.dense", "bert.pooler.dense"],
    )
    model = peft.get_peft_model(base(made.model("bert")), settings).eval()
    with torch.no_grad():
        for name, leaf in model.named_parameters():
            if "lora_B" in name or "magnitude" in name:
                leaf.add_(0.2 * torch.randn(leaf.shape))
    model.save_pretrained(tmp_path / "x")
    read = load(tmp_path / "x", made.CONFIG["bert"])
    assert {type(change) for change in read.adapters.values()} == {Scaled}
    got = with_changes("bert", read.adapters, read.heads)
    assert np.abs(got - torch_side.logits(torch, model, batch())).max() < torch_side.LOGITS


def test_our_own_file_keeps_the_magnitude(tmp_path):
    changes = scaled("mlp", ranks=(0, 2), paths=["fc1", "fc2"])
    adapter_files.save(
        tmp_path / "a.safetensors", adapter_files.Adapter(changes, {}, {"base": "x"})
    )
    again = adapter_files.load(tmp_path / "a.safetensors")
    assert again.ranks == {"fc1": 0, "fc2": 2}
    jax.tree.map(np.testing.assert_array_equal, again.modules, changes)
    assert again.parameters == sum(leaf.size for c in changes.values() for leaf in c)


def test_a_kernel_of_zeros_stays_finite():
    zero = Scaled(np.ones((12, 1)), np.zeros((1, 8)), np.zeros(8))
    model = made.model("mlp")
    values = {name: leaf.value for name, leaf in named_leaves(model).items()}
    model = made.with_heads(model, {"fc1.weight": 0 * values["fc1.weight"]})
    assert not np.any(named_leaves(merged(model, {"fc1": zero}, {}))["fc1.weight"].value)


QUERY, KEY = (f"bert.encoder.layer.0.attention.self.{name}" for name in ("query", "key"))
GOOD = Scaled(*(np.ones(shape, np.float32) for shape in ((16, 1), (1, 16), (16,))))
BAD = {
    "shape": ({QUERY: GOOD._replace(magnitude=np.ones(15))}, r"query has a magnitude.*\(15,\)"),
    "some": ({QUERY: GOOD, KEY: Factors(*GOOD[:2])}, "key has no magnitude and other modules have"),
    "rank": (
        {QUERY: Scaled(np.ones((16, 0)), np.ones((0, 16)), np.ones(16))},
        "query has a magnitude but rank 0",
    ),
    "nan": ({QUERY: GOOD._replace(magnitude=np.full(16, np.nan))}, r"query\.magnitude.*NaN"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused_before_anything_is_written(case, tmp_path):
    changes, words = BAD[case]
    with pytest.raises(ValueError, match=words) as error:
        export(tmp_path / "x", changes, made.heads("bert"), made.CONFIG["bert"], base="b")
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == []


def test_modules_without_components_need_no_magnitude(tmp_path):
    empty = Factors(np.zeros((16, 0)), np.zeros((0, 16)))
    changes = {QUERY: GOOD, KEY: empty}
    export(tmp_path / "x", changes, made.heads("bert"), made.CONFIG["bert"], base="b")
    assert list(load(tmp_path / "x", made.CONFIG["bert"]).adapters) == [QUERY]


@pytest.mark.parametrize(
    ("removed", "words"),
    [
        ("lora_magnitude_vector", "query.lora_magnitude_vector is missing"),
        ("lora_", "query.lora_magnitude_vector stands without factors"),
    ],
)
def test_damaged_folders(removed, words, tmp_path):
    export(tmp_path / "x", {QUERY: GOOD}, made.heads("bert"), made.CONFIG["bert"], base="b")
    path = tmp_path / "x" / "adapter_model.safetensors"
    kept = {n: t for n, t in load_file(path).items() if removed not in n}
    if removed == "lora_":
        kept[f"base_model.model.{QUERY}.lora_magnitude_vector"] = GOOD.magnitude
    save_file(kept, path)
    with pytest.raises(ValueError, match=words):
        load(tmp_path / "x", made.CONFIG["bert"])


def test_adalora_has_no_magnitudes():
    with pytest.raises(ValueError, match="use_dora is True, which only peft_type 'LORA' has"):
        parse({"peft_type": "ADALORA", "use_dora": True, "target_modules": ["query"]})
