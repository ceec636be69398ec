"""What does not fit the model is known before training, with both numbers and the remedy."""

import json

import pytest

from tests.finetune.tasks.made import sentences
from tests.launch.commands import command
from tests.launch.texts import made


@pytest.fixture
def flags(tmp_path):
    return [
        *made(tmp_path, layers=1),
        "--method=lora",
        "--rank=1",
        "--steps=1",
        f"--workdir={tmp_path}/w",
    ]


def refused(capsys, *flags):
    assert command("train", *flags) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


def test_a_gap_between_ids(flags, tmp_path, capsys):
    path = tmp_path / "base" / "tokenizer.json"
    raw = json.loads(path.read_text())
    for change in ("vocabulary", "added token"):
        more = json.loads(json.dumps(raw))
        if change == "vocabulary":
            more["model"]["vocab"]["cat"] = 50
        else:
            kinds = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
            more["added_tokens"] = [
                {"id": number, "content": f"<{number}>", "special": True, **kinds}
                for number in range(15, 51)
            ]
        path.write_text(json.dumps(more))
        err = refused(capsys, *flags)
        assert "has ids up to 50; allowed are 0 to 49, as the model's vocab_size is 50" in err
        assert "take the tokenizer that the model was trained with" in err
    assert not (tmp_path / "w").exists()


def test_a_model_that_is_not_there_is_called_so(flags, tmp_path, capsys):
    assert "model is '/no/such'; no such folder" in refused(capsys, *flags, "--model=/no/such")
    assert not (tmp_path / "w").exists()


def test_a_text_longer_than_the_positions(flags, tmp_path, capsys):
    data = tmp_path / "data"
    data.mkdir()
    rows = (tmp_path / "data.csv").read_text()
    for split in ("train", "validation", "test"):
        (data / f"{split}.csv").write_text(rows)
    flags += [f"--data_dir={data}", "--heldout=0", "--max_length=99"]
    for split in ("train", "validation", "test"):
        (data / f"{split}.csv").write_text(rows + "a " * 19 + ",a\n")
        err = refused(capsys, *flags)
        said = (
            f"row 12 of split '{split}' has 21 tokens, padded to 32; allowed are 20, the positions"
        )
        assert said in err and "use --max_length=20" in err
        (data / f"{split}.csv").write_text(rows)
    # A bucket between them is no reason to fail later.
    (data / "validation.csv").write_text(rows + "a " * 16 + ",a\n")
    assert "has 18 tokens, padded to 32; allowed are 20" in refused(capsys, *flags)
    assert not (tmp_path / "w").exists()


@pytest.mark.thorough  # shorter texts are trained on in tests of the command
def test_a_text_as_long_as_the_positions(flags, tmp_path):
    rows = (tmp_path / "data.csv").read_text()
    (tmp_path / "data.csv").write_text(rows + "a " * 18 + ",a\n")
    assert command("train", *flags, "--max_length=20") == 0


def test_pairs_for_a_model_of_one_segment(flags, tmp_path, capsys):
    config = tmp_path / "base" / "config.json"
    raw = json.loads(config.read_text())
    pairs = zip(sentences(12), sentences(12, 1), "ab" * 6, strict=True)
    lines = ["text,other,label", *map(",".join, pairs)]
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    from safetensors.numpy import load_file, save_file

    weights = load_file(tmp_path / "base" / "model.safetensors")
    name = "bert.embeddings.token_type_embeddings.weight"
    save_file({**weights, name: weights[name][:1]}, tmp_path / "base" / "model.safetensors")
    config.write_text(json.dumps({**raw, "type_vocab_size": 1}))
    err = refused(capsys, *flags, "--texts=text,other")
    assert "--texts has 2 columns; allowed with" in err and "is 1, its type_vocab_size" in err
