"""The command on made folders: what it writes is what PEFT's rules read, and what is refused."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from finetune.peft import standalone
from tests.launch.commands import command

PREFIX = "base_model.model."
SIZES = {"h.0.q": (6, 5), "h.1.q": (6, 5)}


def made(folder, seed=0, ranks=(3, 4), tensors=(), **settings):
    """A folder as PEFT writes it, with factors of these ranks."""
    rng = np.random.default_rng(seed)
    numbers = {}
    for (path, (size_in, size_out)), rank in zip(SIZES.items(), ranks, strict=False):
        for name, shape in (("A", (rank, size_in)), ("B", (size_out, rank))):
            value = rng.normal(size=shape).astype(np.float32)
            numbers[f"{PREFIX}{path}.lora_{name}.weight"] = value
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": "base",
        "r": ranks[0],
        "lora_alpha": 6,
        "rank_pattern": {"h.1.q": ranks[-1]},
        "target_modules": ["q"],
    }
    folder.mkdir()
    save_file({**numbers, **dict(tensors)}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({**config, **settings}))
    return folder


def products(folder):
    return {p: f.a @ f.b for p, f in standalone.read(folder).modules.items()}


def best(product, rank):
    u, s, vt = np.linalg.svd(product)
    return (u[:, :rank] * s[:rank]) @ vt[:rank]


@pytest.mark.parametrize("stabilised", [False, True])
def test_resize(stabilised, tmp_path, capsys):
    folder = made(tmp_path / "a", use_rslora=stabilised, alpha_pattern={"h.0.q": 2})
    raw = load_file(folder / "adapter_model.safetensors")
    new = tmp_path / "new"
    assert command("adapter", "resize", f"--adapter={folder}", "--rank=2", f"--output={new}") == 0
    assert "relative error" in capsys.readouterr().out
    record = json.loads((new / "compression.json").read_text())
    for path, alpha, rank in (("h.0.q", 2, 3), ("h.1.q", 6, 4)):
        a, b = (raw[f"{PREFIX}{path}.lora_{n}.weight"].astype(np.float64) for n in "AB")
        full = (b @ a).T * alpha / (rank**0.5 if stabilised else rank)
        np.testing.assert_allclose(products(new)[path], best(full, 2), atol=1e-5)
        error = np.linalg.norm(full - best(full, 2)) / np.linalg.norm(full)
        assert record["modules"][path]["relative_error"] == pytest.approx(error, rel=1e-6)
    written = json.loads((new / "adapter_config.json").read_text())
    assert written["rank_pattern"] == written["alpha_pattern"] == {"h.0.q": 2, "h.1.q": 2}
    assert written["use_rslora"] is False and written["base_model_name_or_path"] == "base"


@pytest.mark.parametrize("rank", ["exact", "2"])
def test_merge(rank, tmp_path):
    """The second adapter lacks a module, which counts as zero there."""
    first, second = made(tmp_path / "a"), made(tmp_path / "b", 1, ranks=(2,), rank_pattern={})
    flags = [f"--adapters={first},{second}", "--weights=0.7,-0.3", f"--rank={rank}"]
    assert command("adapter", "merge", *flags, f"--output={tmp_path}/new") == 0
    one, two, new = (products(tmp_path / name) for name in ("a", "b", "new"))
    sums = {"h.0.q": 0.7 * one["h.0.q"] - 0.3 * two["h.0.q"], "h.1.q": 0.7 * one["h.1.q"]}
    for path, full in sums.items():
        expected = full if rank == "exact" else best(full, 2)
        np.testing.assert_allclose(new[path], expected, atol=1e-5)


def test_zeros_are_left_out_and_said(tmp_path, capsys):
    zero = {f"{PREFIX}h.1.q.lora_B.weight": np.zeros((5, 4), np.float32)}
    folder = made(tmp_path / "a", tensors=zero)
    flags = [f"--adapter={folder}", "--rank=8", f"--output={tmp_path}/new"]
    assert command("adapter", "resize", *flags) == 0
    assert "rank 0, left out of the file: h.1.q" in capsys.readouterr().out
    assert list(products(tmp_path / "new")) == ["h.0.q"]
    record = json.loads((tmp_path / "new" / "compression.json").read_text())
    assert record["modules"]["h.1.q"]["relative_error"] == 0
    assert record["modules"]["h.0.q"]["rank"] == 3  # the true one


def test_heads(tmp_path, capsys):
    name = f"{PREFIX}score.weight"
    heads = [{name: np.full((2, 5), value, np.float32)} for value in (1, 3)]
    folders = [
        made(tmp_path / str(i), i, tensors=head, modules_to_save=["score"])
        for i, head in enumerate(heads)
    ]
    flags = [f"--adapters={folders[0]},{folders[1]}", f"--output={tmp_path}/new"]
    assert command("adapter", "merge", *flags) == 2
    assert "score.weight differs" in capsys.readouterr().err
    assert command("adapter", "merge", *flags, "--heads=mean", "--weights=1,3") == 0
    value = load_file(tmp_path / "new" / "adapter_model.safetensors")[name]
    np.testing.assert_array_equal(value, np.full((2, 5), 2.5, np.float32))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_stays_and_its_rounding_is_counted(dtype, tmp_path):
    folder = made(tmp_path / "a")
    halves = load_file(folder / "adapter_model.safetensors")
    halves = {name: value.astype(standalone.FLOATS[dtype]) for name, value in halves.items()}
    save_file(halves, folder / "adapter_model.safetensors")
    flags = [f"--adapter={folder}", "--rank=exact", f"--output={tmp_path}/new"]
    assert command("adapter", "resize", *flags) == 0
    new = standalone.read(tmp_path / "new")
    assert new.dtype == dtype
    record = json.loads((tmp_path / "new" / "compression.json").read_text())
    for path, full in products(folder).items():
        error = np.linalg.norm(full - products(tmp_path / "new")[path]) / np.linalg.norm(full)
        assert record["modules"][path]["relative_error"] == pytest.approx(error, rel=1e-6)
        assert 0 < error < 0.02


def test_inspect(tmp_path, capsys):
    folder, file = made(tmp_path / "a"), tmp_path / "a.json"
    assert command("adapter", "inspect", f"--adapter={folder}", f"--json={file}") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    header = next(line for line in lines if line[:1] == ["module"])
    row = dict(zip(header, next(line for line in lines if line[:1] == ["h.0.q"]), strict=True))
    assert (row["rank"], row["true"], row["scale"]) == ("3", "3", "2")  # alpha 6
    assert (row["parameters"], row["bytes"]) == ("33", "132")
    values = json.loads(file.read_text())["singular_values"]["h.0.q"]
    full = np.linalg.svd(products(folder)["h.0.q"], compute_uv=False)[:3]
    np.testing.assert_allclose(values, full, rtol=1e-7)
    # The table of what equal ranks hold: each line is what the values say, and no more than best.
    squares = [np.array(v) ** 2 for v in json.loads(file.read_text())["singular_values"].values()]
    after = lines[next(i for i, line in enumerate(lines) if line[:1] == ["Share"]) + 3 :]
    assert [line[0] for line in after] == ["1", "2"]
    for rank, line in enumerate(after, 1):
        equal, best, left = map(float, line[2:])
        held = sum(s[:rank].sum() for s in squares) / sum(s.sum() for s in squares)
        assert equal == pytest.approx(held, abs=1e-4) and equal <= best
        assert left == pytest.approx((1 - best) / (1 - equal), rel=1e-2)


NAN = {f"{PREFIX}h.0.q.lora_A.weight": np.full((3, 6), np.nan, np.float32)}
CONV = {f"{PREFIX}h.0.q.lora_A.weight": np.ones((3, 6, 3, 3), np.float32)}
CONV |= {f"{PREFIX}h.0.q.lora_B.weight": np.ones((5, 3, 3, 3), np.float32)}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tensors": NAN}, "h.0.q.lora_A.weight contains NaN"),
        ({"tensors": CONV}, "h.0.q is a convolution with factors"),
        ({"use_dora": True}, "DoRA is not linear"),
        ({"peft_type": "VERA"}, "peft_type is 'VERA'; allowed are 'LORA', 'ADALORA'; merge it"),
        ({"lora_bias": True}, "lora_bias is True, which is not known here; merge it"),
        ({"use_kasa": True}, "use_kasa is True, which is not known here; merge it"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens is [1], which is not known"),
        ({"r": 7}, "h.0.q has rank 3; its configuration says 7"),
        ({"target_modules": ["k"]}, "h.0.q has tensors but is none of target_modules"),
        ({"ranks": (0, 0), "r": 8, "rank_pattern": {}}, "h.0.q has rank 0"),
    ],
)
def test_folders_refused(settings, words, tmp_path, capsys):
    folder = made(tmp_path / "a", **settings)
    flags = [f"--adapter={folder}", "--rank=2", f"--output={tmp_path}/new"]
    assert command("adapter", "resize", *flags) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the first argument is missing; allowed are inspect"),
        (["prune"], "prune"),
        (["inspect", "more", "--adapter={a}"], "unexpected argument 'more'"),
        (["inspect"], "inspect needs --adapter"),
        (["inspect", "--adapter={none}"], "adapter_config.json cannot be read"),
        (["inspect", "--adapter={a}", "--rank=2"], "--rank is not read by inspect"),
        (["resize", "--adapter={a}", "--output={new}"], "needs one of --rank, --energy"),
        (["resize", "--adapter={a}", "--output={new}", "--rank=0"], "--rank is 0; allowed are"),
        (["resize", "--adapter={a}", "--output={new}", "--energy=1.2"], "--energy=1.2"),
        (["resize", "--adapter={a}", "--output={new}", "--energy=0"], "--energy is 0"),
        (["resize", "--adapter={a}", "--output={new}", "--rank=2", "--budget=9"], "exclude"),
        (["resize", "--adapter={a}", "--output={new}", "--budget=9"], "at least 11 numbers"),
        (["resize", "--adapter={a}", "--output={a}", "--rank=1"], "exists"),
        (["merge", "--adapters={a},{b}", "--output={new}"], "belong to base and other"),
        (["merge", "--adapters={a},{a}", "--output={new}", "--weights=1"], "--weights has 1"),
        (["merge", "--adapters={a}", "--output={new}", "--weights=x"], "--weights has 'x'"),
        (["merge", "--adapters={a},{c}", "--output={new}"], "h.0.q maps (6, 5) and (6, 9)"),
    ],
)
def test_refused(arguments, words, tmp_path, capsys):
    made(tmp_path / "a")
    made(tmp_path / "b", base_model_name_or_path="other")
    wide = {f"{PREFIX}h.0.q.lora_B.weight": np.ones((9, 3), np.float32)}
    made(tmp_path / "c", tensors=wide)
    places = {name: tmp_path / name for name in ("a", "b", "c", "new", "none")}
    assert command("adapter", *(text.format(**places) for text in arguments)) == 2
    said = capsys.readouterr().err
    assert words in said.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_other_bases_if_asked_for(tmp_path):
    folders = made(tmp_path / "a"), made(tmp_path / "b", base_model_name_or_path="other")
    flags = [f"--adapters={folders[0]},{folders[1]}", "--force", f"--output={tmp_path}/new"]
    assert command("adapter", "merge", *flags) == 0


def test_a_file_of_kohyas_scripts(tmp_path):
    rng, name = np.random.default_rng(0), "lora_te_text_model_encoder_layers_0_mlp_fc1"
    down, up = rng.normal(size=(3, 6)), rng.normal(size=(5, 3))
    tensors = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
    tensors = {n: value.astype(np.float32) for n, value in tensors.items()}
    tensors[f"{name}.alpha"] = np.array(6.0, np.float32)
    save_file(tensors, tmp_path / "style.safetensors")
    flags = [f"--adapter={tmp_path}/style.safetensors", "--rank=2", f"--output={tmp_path}/new"]
    assert command("adapter", "resize", *flags) == 0
    (product,) = products(tmp_path / "new").values()
    np.testing.assert_allclose(product, best((up @ down).T * 2, 2), atol=1e-5)
