"""The command on tiny networks: what it writes loads here, and what is refused leaves nothing."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from finetune import models
from finetune.models.bert import BertConfig
from finetune.models.config import parse
from finetune.models.registry import ARCHITECTURES
from finetune.weights import saving
from finetune.weights.naming import named_leaves
from tests.finetune.models.tiny import BERT, random_model
from tests.finetune.tasks import vocabularies
from tests.finetune.tasks.made import backend, sentences
from tests.launch.commands import command
from tests.launch.test_language import SIZES

SMALL = ["--tokens=64", "--max_length=16", "--batch_size=4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Llama and a tiny BERT, a book, and pairs of sentences."""
    root = tmp_path_factory.mktemp("compress")
    tokenizer = vocabularies.byte_level(root / "llama")
    sizes = {**SIZES["llama"], "vocab_size": tokenizer.size}
    config = parse(ARCHITECTURES["llama"].Config, sizes, num_labels=0)
    saving.save(root / "llama", models.initialise(config, jax.random.key(0)))
    saving.save(root / "bert", random_model(BertConfig(num_labels=2, **BERT)))
    backend().save(str(root / "bert" / "tokenizer.json"))
    (root / "book.txt").write_text("Once upon a time there was a matrix of rank one. " * 12)
    pairs = zip(sentences(24), sentences(24)[::-1], range(24), strict=True)
    lines = [json.dumps({"a": a, "b": b, "alike": n % 5}) for a, b, n in pairs]
    (root / "pairs.jsonl").write_text("\n".join(lines))
    return root


def kernels(place):
    _, model = models.load(place, labels=0, key=jax.random.key(0))
    return {name: np.asarray(leaf.value) for name, leaf in named_leaves(model).items()}


@pytest.fixture(scope="module")
def written(folder, tmp_path_factory):
    """Form -> folder of the Llama at a ratio of .5; all forms with the ranks of factors."""
    root, places = tmp_path_factory.mktemp("written"), {}
    for form in ("dense", "factors"):
        places[form] = root / form
        flags = [f"--model={folder}/llama", f"--data={folder}/book.txt", "--ratio=0.5", *SMALL]
        assert command("compress", *flags, f"--form={form}", f"--output={places[form]}") == 0
    return places


def test_forms_are_one_network(written, folder):
    dense, factors = kernels(written["dense"]), kernels(written["factors"])
    old = kernels(folder / "llama")
    record = json.loads((written["dense"] / "compression.json").read_text())
    assert (
        record["parameters"]["linear maps after"] <= record["parameters"]["linear maps before"] / 2
    )
    ranks = {row["module"]: row["rank"] for row in record["modules"]}
    for name, value in old.items():
        np.testing.assert_allclose(dense[name], factors[name], atol=1e-5)
        rank = ranks.get(name.removesuffix(".weight"))
        if rank is None:
            np.testing.assert_array_equal(dense[name], value)
        else:
            assert np.linalg.matrix_rank(dense[name], tol=1e-5) == rank < min(value.shape)


def test_what_is_written_beside_the_weights(written):
    for form, place in written.items():
        names = {path.name for path in place.iterdir()}
        more = {"tokenizer.json", "compression.json", "compression.png", "README.md"}
        assert more | {"config.json", "model.safetensors"} <= names
        config = json.loads((place / "config.json").read_text())
        assert config["model_type"] == ("llama" if form == "dense" else "rankwise_llama")
    sizes = [(place / "model.safetensors").stat().st_size for place in written.values()]
    assert sizes[1] < sizes[0]


@pytest.mark.thorough  # forms are read above
def test_a_compressed_folder_is_a_model_for_other_commands(written, tmp_path, capsys):
    place = written["factors"]
    flags = [f"--model={place}", "--prompt=Once", "--max_new_tokens=2"]
    assert command("generate", *flags) == 0
    rows = [{"prompt": f"Add {n}:", "completion": f" {n}"} for n in range(8)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = ["--task=instructions", f"--data={tmp_path}/rows.jsonl", "--heldout=0.5"]
    steps = ["--method=lora", "--rank=1", "--steps=1", "--batch_size=2", "--max_length=32"]
    run = f"--workdir={tmp_path}/run"
    assert command("train", f"--model={place}", *task, *steps, run, "--eval_batch_size=4") == 0
    assert command("evaluate", run, "--eval_batch_size=4") == 0
    again = [f"--model={place}", f"--data={tmp_path}/rows.jsonl", "--texts=prompt,completion"]
    assert command("compress", *again, "--ratio=0.4", *SMALL) == 0
    capsys.readouterr()


@pytest.mark.thorough  # test_modeling_rankwise.py
def test_transformers_reads_dense_and_refuses_factors(written, folder):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    model = transformers.AutoModelForCausalLM.from_pretrained(written["dense"])
    ids = np.arange(6)[None]
    with torch.no_grad():
        theirs = model(torch.tensor(ids)).logits.numpy()
    _, own = models.load(written["factors"], labels=0, key=jax.random.key(0))
    logits = own({"input_ids": ids, "attention_mask": np.ones_like(ids)}).logits
    np.testing.assert_allclose(logits, theirs, atol=1e-4)
    # With it the outputs are ours: tests/finetune/compression/test_modeling_rankwise.py.
    with pytest.raises(ValueError, match="trust_remote_code"):
        transformers.AutoModelForCausalLM.from_pretrained(written["factors"])


def test_an_encoder_with_every_plan(folder, tmp_path, capsys):
    flags = [f"--model={folder}/bert", f"--data={folder}/pairs.jsonl", "--texts=a,b"]
    more = ["--label=alike", "--ratio=0.7", "--ratios=0.5", "--form=pivot", "--power=auto"]
    out = [f"--output={tmp_path}/new", f"--json={tmp_path}/rows.json", f"--other={folder}/book.txt"]
    assert command("compress", *flags, *more, *out, *SMALL) == 0
    record = json.loads((tmp_path / "rows.json").read_text())
    assert record["scores"]["before"]["cosine, held out"] == pytest.approx(1)
    assert set(record["scores"]["after"]) == {"cosine, held out", "cosine, other", "Spearman"}
    assert [other["plan"] for other in record["others"]] == ["uniform", "threshold", "lagrangian"]
    assert set(record["mean_relative_error"]) == {"calibration", "held out", "other"}
    best = max(record["powers"], key=lambda tried: tried["cosine, other half"])
    assert record["power"] == best["power"] and len(record["powers"]) == 3
    shown = capsys.readouterr().out
    assert "before" in shown and "error, held out" in shown and "other half" in shown
    asked, spent = (record["parameters"][f"linear maps {n}"] for n in ("asked", "after"))
    assert spent <= asked == int(0.7 * record["parameters"]["linear maps before"])
    _, model = models.load(tmp_path / "new", labels=2, key=jax.random.key(0))
    assert not model.fresh


@pytest.mark.thorough  # the order is tested in compression/test_maps.py
@pytest.mark.parametrize("order", ["sequential", "anchored"])
def test_orders(order, folder, capsys):
    flags = [f"--model={folder}/bert", f"--data={folder}/pairs.jsonl", "--texts=a,b"]
    more = [f"--order={order}", "--modules=layer.1.*dense", "--ratio=0.6"]
    assert command("compress", *flags, *more, *SMALL) == 0
    assert f"order {order}" in capsys.readouterr().out


def broken(folder, name):
    """The Llama with a NaN in a kernel."""
    place = folder / name
    if not place.exists():
        place.mkdir()
        for file in (folder / "llama").iterdir():
            (place / file.name).write_bytes(file.read_bytes())
        tensors = load_file(place / "model.safetensors")
        kernel = next(n for n in tensors if n.endswith("layers.0.mlp.up_proj.weight"))
        tensors[kernel] = np.full_like(tensors[kernel], 1e30)
        save_file(tensors, place / "model.safetensors")
    return place


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ratio=0"], "--ratio is 0.0; allowed are numbers between 0 and 1"),
        (["--ratio=1.2"], "--ratio is 1.2; allowed are numbers between 0 and 1"),
        (["--ratios=0.9,x"], "--ratios has 'x'"),
        (["--ratio=0.01"], "allowed are at least"),
        (["--data=EMPTY"], "has no text to calibrate on"),
        (["--data=/no/such.txt"], "such.txt"),
        (["--model=NOTHING"], "config.json"),
        (["--model=BROKEN"], "NaN or infinity"),
        (["--texts=title"], "column 'title'"),
        (["--shrink=-1"], "--shrink is -1"),
        (["--label=alike"], "--label needs two --texts"),
        (["--modules=nowhere"], "nowhere"),
        (["--order=anchored", "--power=2"], "--power is 2 with --order=anchored"),
        (["--order=sequential", "--power=auto"], "--power is auto with --order=sequential"),
        (["--power=5"], "--power is 5; allowed are auto and numbers from 0 to 4"),
        (["--power=auto", "--tokens=16"], "one row of text"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(flags, message, folder, tmp_path, capsys):
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "nothing").mkdir()
    places = {"EMPTY": tmp_path / "empty.txt", "NOTHING": tmp_path / "nothing"}
    if "BROKEN" in flags[0]:
        places["BROKEN"] = broken(folder, "broken")
    for name, place in places.items():
        flags = [flag.replace(name, str(place)) for flag in flags]
    if flags[0].startswith("--texts"):
        (tmp_path / "rows.csv").write_text("text,other\na b,c d\n")
        flags = [*flags, f"--data={tmp_path}/rows.csv"]
    given = [f"--model={folder}/llama", f"--data={folder}/book.txt", *SMALL, *flags]
    assert command("compress", *given, f"--output={tmp_path}/new") == 2
    shown = capsys.readouterr().err.strip().splitlines()[-1]
    assert shown.startswith("compress: ") and message in shown
    assert not [path for path in tmp_path.iterdir() if "new" in path.name]


def test_a_folder_that_exists_is_refused_first(folder, tmp_path, capsys):
    flags = [f"--model={folder}/llama", f"--data={folder}/book.txt", f"--output={tmp_path}"]
    assert command("compress", *flags) == 2
    assert "exists" in capsys.readouterr().err
