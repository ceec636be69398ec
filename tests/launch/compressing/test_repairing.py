"""--residual_of on a tiny Llama: errors are those of the files, and PEFT adds what is written."""

import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from finetune import models
from finetune.compression.rounding import integers
from finetune.models.config import parse
from finetune.models.registry import ARCHITECTURES
from finetune.peft import standalone
from finetune.weights import saving
from tests.finetune.tasks import vocabularies
from tests.launch.commands import command
from tests.launch.test_language import SIZES

SMALL = ["--tokens=64", "--max_length=16", "--batch_size=4", "--modules=layers.0"]
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Llama, itself rounded to two bits, and a book."""
    root = tmp_path_factory.mktemp("repair")
    tokenizer = vocabularies.byte_level(root / "llama")
    sizes = {**SIZES["llama"], "vocab_size": tokenizer.size}
    config = parse(ARCHITECTURES["llama"].Config, sizes, num_labels=0)
    saving.save(root / "llama", models.initialise(config, jax.random.key(0)))
    shutil.copytree(root / "llama", root / "rounded")
    tensors = load_file(root / "llama" / WEIGHTS)
    for name in [name for name in tensors if "proj" in name]:
        tensors[name] = np.ascontiguousarray(integers(tensors[name].T, bits=2).T)
    save_file(tensors, root / "rounded" / WEIGHTS)
    (root / "book.txt").write_text("Once upon a time there was a matrix of rank one. " * 12)
    return root


@pytest.fixture(scope="module")
def run(folder):
    """The adapter of rank 2, its record, and the moments of the inputs."""
    flags = [f"--model={folder}/llama", f"--residual_of={folder}/rounded", "--rank=2"]
    files = [f"--output={folder}/adapter", f"--grams={folder}/grams.safetensors"]
    assert command("compress", *flags, f"--data={folder}/book.txt", *files, *SMALL) == 0
    return json.loads((folder / "adapter" / "compression.json").read_text())


def test_errors_are_those_of_the_files(folder, run):
    grams = load_file(folder / "grams.safetensors")
    old, new = (load_file(folder / name / WEIGHTS) for name in ("llama", "rounded"))
    adapter = standalone.read(folder / "adapter")
    assert adapter.config.base == f"{folder}/rounded" and len(run["modules"]) == 7
    for row in run["modules"]:
        path = row["module"]
        kernel, rounded = (side[f"{path}.weight"].T.astype(float) for side in (old, new))
        a, b = adapter.modules[path]
        changes = {"rounded": kernel - rounded, "repaired": kernel - rounded - a @ b}
        assert row["rank"] == a.shape[1] == 2 and row["parameters"] == a.size + b.size
        for text, gram in (("calibration", grams[path]), ("weights", np.eye(len(kernel)))):
            energy = np.sum(kernel * (gram @ kernel))
            for which, off in changes.items():
                error = np.sum(off * (gram @ off)) / energy
                assert row["errors"][text][which] == pytest.approx(error, rel=1e-4)
        assert row["errors"]["calibration"]["repaired"] < row["errors"]["calibration"]["rounded"]
    means = run["mean_relative_error"]
    assert set(means) == {"calibration", "held out", "weights"}
    assert set(run["scores"]) == {"model", "rounded", "repaired"}


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # theirs
def test_peft_adds_it(folder, run):
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    base = transformers.AutoModelForCausalLM.from_pretrained(folder / "rounded")
    model = peft.PeftModel.from_pretrained(base, folder / "adapter").merge_and_unload()
    old = load_file(folder / "llama" / WEIGHTS)
    rounded = load_file(folder / "rounded" / WEIGHTS)
    for row in run["modules"]:
        name = f"{row['module']}.weight"
        merged = model.state_dict()[name].numpy()
        error = np.sum((merged - old[name]) ** 2) / np.sum(old[name] ** 2)
        assert error == pytest.approx(row["errors"]["weights"]["repaired"], rel=1e-3)
        assert not np.allclose(merged, rounded[name], atol=1e-4)
    with torch.no_grad():  # it runs
        assert model(torch.tensor([[1, 2, 3]])).logits.isfinite().all()


def test_the_models_own_weights_rounded_without_texts(folder, tmp_path, capsys):
    flags = [f"--model={folder}/llama", "--residual_of=nf4", "--rank=99", "--modules=layers.0"]
    assert command("compress", *flags, f"--output={tmp_path}/new") == 0
    shown = capsys.readouterr().out
    assert "plain singular value decomposition" in shown and "nf4 in blocks of 64" in shown
    record = json.loads((tmp_path / "new" / "compression.json").read_text())
    means = record["mean_relative_error"]["weights"]
    assert 1e-3 < means["rounded"] < 0.02 and means["repaired"] < 1e-10  # of full rank
    adapter = standalone.read(tmp_path / "new")
    assert adapter.config.base == f"{folder}/llama"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--residual_of=ROUNDED"], "--residual_of and --rank need each other"),
        (["--rank=2", "--data=BOOK"], "--residual_of and --rank need each other"),
        (["--residual_of=ROUNDED", "--rank=0"], "--rank=0"),
        (["--residual_of=ROUNDED", "--rank=2", "--ratio=0.5"], "--ratio is not read with --resid"),
        (["--residual_of=ROUNDED", "--rank=2", "--power=2"], "--power is not read without --data"),
        (["--residual_of=LLAMA", "--rank=2"], "has the kernels of --model"),
        (["--residual_of=OTHER", "--rank=2"], "is no rounded form of --model: lm_head.weight has"),
        (["--residual_of=nowhere", "--rank=2"], "nowhere"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(flags, message, folder, tmp_path, capsys):
    sizes = {**SIZES["llama"], "vocab_size": 8, "intermediate_size": 4}
    config = parse(ARCHITECTURES["llama"].Config, sizes, num_labels=0)
    if "OTHER" in flags[0]:
        saving.save(tmp_path / "other", models.initialise(config, jax.random.key(0)))
    places = {"ROUNDED": folder / "rounded", "LLAMA": folder / "llama", "BOOK": folder / "book.txt"}
    places["OTHER"] = tmp_path / "other"
    for name, place in places.items():
        flags = [flag.replace(name, str(place)) for flag in flags]
    given = [f"--model={folder}/llama", *flags, f"--output={tmp_path}/new"]
    assert command("compress", *given) == 2
    shown = capsys.readouterr().err.strip().splitlines()[-1]
    assert shown.startswith("compress: ") and message in shown
    assert not [path for path in tmp_path.iterdir() if "new" in path.name]
