"""--gram, --grams, --pad and --keep_magnitude on made folders, against least squares."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from finetune.compression import gram_files
from finetune.peft import standalone
from tests.launch.commands import command
from tests.launch.test_adapter import PREFIX, SIZES, made, products

WEIGHTS = "adapter_model.safetensors"


def inputs(seed):
    rng = np.random.default_rng(seed)
    return {
        p: rng.normal(size=(30, n)) * 10.0 ** rng.uniform(-1, 1, n) for p, (n, _) in SIZES.items()
    }


def written(file, sides):
    gram_files.write(file, {f"model.{path}": x.T @ x / len(x) for path, x in sides.items()})
    return file


def tail(matrix, rank):
    return np.linalg.norm(np.linalg.svd(matrix, compute_uv=False)[rank:])


def test_resize_is_best_on_the_inputs(tmp_path):
    folder, x = made(tmp_path / "a"), inputs(0)
    file = written(tmp_path / "g.safetensors", x)
    flags = [f"--adapter={folder}", f"--gram={file}", "--rank=2", "--shrink=0"]
    assert command("adapter", "resize", *flags, f"--output={tmp_path}/new") == 0
    record = json.loads((tmp_path / "new" / "compression.json").read_text())
    old, new = products(folder), products(tmp_path / "new")
    for path in SIZES:
        error = np.linalg.norm(x[path] @ (old[path] - new[path]))
        assert error == pytest.approx(tail(x[path] @ old[path], 2), rel=1e-5)
        relative = error / np.linalg.norm(x[path] @ old[path])
        assert record["modules"][path]["relative_error"] == pytest.approx(relative, rel=1e-5)
        assert record["modules"][path]["rank"] == 2


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_merge_is_nearest_on_the_inputs_of_each(dtype, tmp_path):
    """The second adapter lacks a module, which counts as zero on its inputs."""
    folders = made(tmp_path / "a"), made(tmp_path / "b", 1, ranks=(2,), rank_pattern={})
    for folder in folders:
        numbers = {n: v.astype(dtype) for n, v in load_file(folder / WEIGHTS).items()}
        save_file(numbers, folder / WEIGHTS)
    sides = [inputs(0), inputs(1)]
    files = [written(tmp_path / f"{i}.safetensors", x) for i, x in enumerate(sides)]
    flags = [f"--adapters={folders[0]},{folders[1]}", f"--grams={files[0]},{files[1]}"]
    more = ["--weights=1,0.25", "--rank=2", "--shrink=0", f"--output={tmp_path}/new"]
    assert command("adapter", "merge", *flags, *more) == 0
    record = json.loads((tmp_path / "new" / "compression.json").read_text())
    one, two, new = (products(tmp_path / name) for name in ("a", "b", "new"))
    for path in SIZES:
        targets = one[path], two.get(path, np.zeros(SIZES[path]))
        x = np.concatenate([sides[0][path], 0.5 * sides[1][path]])
        y = np.concatenate([sides[0][path] @ targets[0], 0.5 * sides[1][path] @ targets[1]])
        fitted = x @ np.linalg.lstsq(x, y, rcond=None)[0]
        least = np.hypot(tail(fitted, 2), np.linalg.norm(y - fitted))
        error = np.linalg.norm(y - x @ new[path])
        # Rounding to half precision adds to an error that is stationary here.
        assert error == pytest.approx(least, rel=1e-5 if dtype == "float32" else 1e-4)
        stated = record["modules"][path]["relative_error"]
        assert stated == pytest.approx(error / np.linalg.norm(y), rel=1e-5)


def test_pad_is_the_same_map_in_one_rank(tmp_path):
    folder, new = made(tmp_path / "a"), tmp_path / "new"
    flags = [f"--adapter={folder}", "--rank=7", "--pad"]
    assert command("adapter", "resize", *flags, f"--output={new}") == 0
    for path, change in standalone.read(new).modules.items():
        assert change.a.shape[1] == change.b.shape[0] == 7
        np.testing.assert_allclose(change.a @ change.b, products(folder)[path], atol=1e-5)
    settings = json.loads((new / "adapter_config.json").read_text())
    assert settings["r"] == settings["lora_alpha"] == 7
    assert set(settings["rank_pattern"].values()) == {7}


def dora(place):
    lengths = {
        f"{PREFIX}{path}.lora_magnitude_vector": np.full(5, 2.0, np.float32) for path in SIZES
    }
    return made(place, tensors=lengths, use_dora=True)


@pytest.mark.parametrize("zero", [False, True])
def test_keep_magnitude(zero, tmp_path):
    folder, new = dora(tmp_path / "a"), tmp_path / "new"
    if zero:  # a module without factors has no magnitude in PEFT's format
        numbers = load_file(folder / WEIGHTS)
        numbers[f"{PREFIX}h.0.q.lora_B.weight"] *= 0
        save_file(numbers, folder / WEIGHTS)
    flags = [f"--adapter={folder}", "--rank=2", "--keep_magnitude"]
    assert command("adapter", "resize", *flags, f"--output={new}") == 0
    old, own = (standalone.read(place, keep_magnitude=True) for place in (folder, new))
    assert json.loads((new / "adapter_config.json").read_text())["use_dora"] is True
    for path in SIZES:
        np.testing.assert_array_equal(own.magnitudes[path], old.magnitudes[path])
        full, smaller = (side.modules[path].a @ side.modules[path].b for side in (old, own))
        assert np.linalg.norm(full - smaller) == pytest.approx(tail(full, 2), abs=1e-5)
        assert own.modules[path].a.shape[1] == (1 if zero and path == "h.0.q" else 2)


@pytest.mark.thorough  # that the tensors stay is a faster test
def test_peft_reads_the_smaller_dora(tmp_path):
    """Of full rank it is the same network."""
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")

    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.q = torch.nn.Linear(6, 5)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.h = torch.nn.ModuleList([Layer(), Layer()])

        def forward(self, x):
            return self.h[0].q(x) + self.h[1].q(x)

    flags = [f"--adapter={dora(tmp_path / 'a')}", "--rank=5", "--keep_magnitude"]
    assert command("adapter", "resize", *flags, f"--output={tmp_path}/new") == 0
    x = torch.ones(2, 6)
    with torch.no_grad():
        old, new = (peft.PeftModel.from_pretrained(Net(), tmp_path / n)(x) for n in ("a", "new"))
    np.testing.assert_allclose(new, old, atol=1e-5)
    assert not np.allclose(new, Net()(x).detach(), atol=0.1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["resize", "--adapter={a}", "--gram={g}", "--energy=0.9"], "--gram needs --rank"),
        (["resize", "--adapter={a}", "--gram={none}", "--rank=2"], "none is truncated or not a"),
        (["resize", "--adapter={a}", "--gram={g}", "--rank=2"], "has no matrix for h.1.q;"),
        (["resize", "--adapter={a}", "--rank=exact", "--pad"], "--pad needs --rank=NUMBER"),
        (["resize", "--adapter={d}", "--rank=2"], "resize --keep_magnitude"),
        (["merge", "--adapters={a},{a}", "--grams={g}", "--rank=2"], "--grams has 1 files and"),
        (
            ["merge", "--adapters={a},{a}", "--grams={g},{g}", "--rank=2", "--weights=1,-1"],
            "--weights is 1,-1 with --grams; allowed are numbers above 0",
        ),
        (["inspect", "--adapter={a}", "--gram={g}"], "--gram is not read by inspect"),
    ],
)
def test_refused(arguments, words, tmp_path, capsys):
    made(tmp_path / "a")
    dora(tmp_path / "d")
    written(tmp_path / "g", {"h.0.q": np.ones((3, 6))})
    places = {name: tmp_path / name for name in ("a", "d", "g", "none")}
    arguments = [text.format(**places) for text in arguments]
    output = [f"--output={tmp_path}/new"] if arguments[0] != "inspect" else []
    assert command("adapter", *arguments, *output) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "d", "g"]
