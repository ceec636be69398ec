"""Prompts and completions from files: tokens, what carries loss, what is left out or refused."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from finetune.tasks import tables
from finetune.tasks.own_text import examples, instructions
from finetune.tasks.own_text.examples import Columns
from tests.finetune.tasks import made, vocabularies
from tests.finetune.tasks.talk import talker, trained
from tests.finetune.tasks.tokens.test_chat import CHATML

ROWS = [
    {"prompt": "Add 3 and 4:", "completion": " 7", "id": "a"},
    {"prompt": "Say it twice: good", "completion": "\ngood good", "id": "b"},
    {"prompt": "Which?\n", "completion": "positive", "id": "c"},
]


@pytest.fixture(scope="module", params=["byte_level", "llama", "t5"])
def tokenizer(request, tmp_path_factory):
    return vocabularies.MAKERS[request.param](tmp_path_factory.mktemp("t") / request.param)


@pytest.fixture(scope="module")
def chatty(tmp_path_factory):
    """A tokenizer with a template and its tokens."""
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Backend

    folder = tmp_path_factory.mktemp("chatty")
    vocabularies.byte_level(folder)
    backend = Backend.from_file(str(folder / "tokenizer.json"))
    backend.add_special_tokens(
        [AddedToken(t, special=True) for t in ("<|im_start|>", "<|im_end|>")]
    )
    from finetune.tasks.tokens.tokenizer import from_fast

    return dataclasses.replace(from_fast(backend), chat_template=CHATML), backend


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def decoded(tokenizer, ragged):
    ends = zip(ragged.offsets, ragged.offsets[1:], strict=False)
    return [tokenizer.vocabulary.decode(ragged.values[a:b]) for a, b in ends]


def test_completions_follow_prompts_as_they_stand(tokenizer, tmp_path):
    kind = "encoder_decoder" if tokenizer.vocabulary.before == () else "causal"
    task = instructions.load(jsonl(tmp_path / "a.jsonl", ROWS), tokenizer, kind)
    rows, end = task.split("train"), tokenizer.vocabulary.end_id
    target = rows.inputs["target"]
    assert (target.values[target.offsets[1:] - 1] == end).all()
    texts = [row["completion"] for row in ROWS]
    texts = texts if kind == "causal" else [" ".join(text.split()) for text in texts]
    result = decoded(tokenizer, target)
    assert (result if kind == "causal" else [text.strip() for text in result]) == texts
    source = rows.inputs["source"]
    if kind == "causal":
        assert source.values[0] == tokenizer.vocabulary.before[0]
        whole = tokenizer.vocabulary.plain([ROWS[0]["prompt"] + ROWS[0]["completion"]])[0]
        both = [*source.values[1 : source.offsets[1]], *target.values[: target.offsets[1] - 1]]
        assert both == whole
    else:
        assert (source.values[source.offsets[1:] - 1] == end).all()


def test_all_file_types_hold_the_same_rows(tmp_path):
    tokenizer = vocabularies.llama(tmp_path / "t")
    jsonl(tmp_path / "a.jsonl", ROWS)
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(ROWS)
    made.write_parquet(tmp_path / "a.parquet", {n: [r[n] for r in ROWS] for n in ROWS[0]})
    prints = {
        instructions.load(tmp_path / f"a.{end}", tokenizer, "causal").split("train").fingerprint
        for end in ("jsonl", "csv", "parquet")
    }
    assert len(prints) == 1


def test_loss_is_on_the_completion_or_on_all(tmp_path):
    tokenizer = vocabularies.llama(tmp_path / "t")
    file = jsonl(tmp_path / "a.jsonl", ROWS)
    one = instructions.load(file, tokenizer, "causal").batch("train", None, 0, 3)
    whole = instructions.load(file, tokenizer, "causal", loss_on_prompt=True)
    all_of_it = whole.batch("train", None, 0, 3)
    for row in range(3):
        tokens = all_of_it["attention_mask"][row].sum()
        assert (all_of_it["input_ids"][row, :tokens] == one["input_ids"][row, :tokens]).all()
        assert one["attention_mask"][row].sum() == tokens
        labels = all_of_it["labels"][row]
        assert (labels[:tokens] != -100).all() and all_of_it["weight"][row] == tokens
        here = one["labels"][row] != -100
        assert (one["labels"][row][here] == labels[: len(here)][here[: len(labels)]]).all()
        assert here.sum() == one["weight"][row] < tokens
    assert whole.metrics == ("loss", "perplexity")
    with pytest.raises(ValueError, match="decoder does not write prompts"):
        instructions.load(
            file, vocabularies.t5(tmp_path / "u"), "encoder_decoder", loss_on_prompt=True
        )


def test_long_rows_are_left_out_or_cut_and_counted(tmp_path):
    tokenizer = vocabularies.llama(tmp_path / "t")
    long = {"prompt": "Say it: " + "x" * 30, "completion": "y" * 40}
    file = jsonl(tmp_path / "a.jsonl", [ROWS[0], long, ROWS[2]])
    dropped = instructions.load(file, tokenizer, "causal", max_length=32)
    assert dropped.split("train").index.tolist() == [0, 2]
    assert dropped.note == "1 of 3 rows of train have more than 32 tokens and are left out"
    cut = instructions.load(file, tokenizer, "causal", max_length=32, cut=True)
    assert cut.note == "1 of 3 rows of train have more than 32 tokens and are cut"
    lengths = [cut.split("train").inputs[n].lengths[1] for n in ("source", "target")]
    assert sum(lengths) == 32 and min(lengths) > 0
    source = cut.split("train").inputs["source"]
    assert decoded(tokenizer, source)[1].endswith("xxxx")
    with pytest.raises(ValueError, match=r"row of split 'train' fits in, \d+ or more \(or cut"):
        instructions.load(jsonl(tmp_path / "b.jsonl", [long]), tokenizer, "causal", max_length=32)


def test_chats_go_through_the_template(chatty, tmp_path):
    tokenizer, backend = chatty
    chats = [
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "good"}],
        [
            {"role": "system", "content": "Be brief."},
            *({"role": r, "content": c} for r, c in [("user", "a"), ("assistant", "b")]),
            *({"role": r, "content": c} for r, c in [("user", "c"), ("assistant", "d e")]),
        ],
    ]
    file = jsonl(tmp_path / "a.jsonl", [{"messages": chat} for chat in chats])
    rows = instructions.load(file, tokenizer, "causal").split("train").inputs
    assert decoded(tokenizer, rows["target"]) == ["good\n", "d e\n"]
    end = backend.token_to_id("<|im_end|>")
    assert (rows["target"].values == end).sum() == 2
    first = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    expected = backend.encode(first + "<|im_start|>assistant\n", add_special_tokens=False).ids
    assert rows["source"].values[: rows["source"].offsets[1]].tolist() == expected
    assert examples.ends(tokenizer, chat=True) == (tokenizer.vocabulary.end_id, end)
    assert examples.ends(tokenizer, chat=False) == (tokenizer.vocabulary.end_id,)
    # The same from two columns, and from chats that a CSV file holds as JSON.
    pair = [{"prompt": "Hi", "completion": "good"}]
    file = jsonl(tmp_path / "b.jsonl", pair)
    same = instructions.load(file, tokenizer, "causal", Columns(chat=True)).split("train").inputs
    assert same["source"].values.tolist() == expected
    with (tmp_path / "c.csv").open("w", newline="") as out:
        csv.writer(out).writerows([["talk"], *([json.dumps(chat)] for chat in chats)])
    load = instructions.load(tmp_path / "c.csv", tokenizer, "causal", Columns(messages="talk"))
    again = load.split("train").inputs["target"]
    assert again.values.tolist() == rows["target"].values.tolist()


@pytest.mark.parametrize(
    ("rows", "expected", "word"),
    [
        ([{"prompt": "a", "completion": " "}], {}, "'completion' of .* in row 0 is empty"),
        ([{"prompt": "a"}], {}, "column 'completion' is not in .*; allowed are prompt"),
        ([{"prompt": "a", "completion": 3}], {}, "is 3 in row 0; allowed are strings"),
        ([{"messages": "Hi"}], {}, "row 0 is 'Hi'; allowed are lists of messages"),
        ([{"messages": [{"role": "user", "content": "a"}]}], {}, "ends with a message of 'user'"),
        (
            [{"messages": [{"role": "assistant", "content": ""}]}],
            {},
            "in row 0 ends with an empty answer",
        ),
        (ROWS, {"messages": "talk"}, "column 'talk' is not in"),
        (
            [{"question": "a", "answer": "b"}],
            {},
            r"question, answer \(--prompt_column and --comple",
        ),
        (
            [{"messages": [{"role": "assistant", "content": None}]}],
            {},
            "in row 0 ends with an empty answer",
        ),
        (
            [{"messages": [{"role": "user", "content": ["a"]}, examples.said("assistant", "b")]}],
            {},
            r"has a message of \['a'\]; allowed are texts",
        ),
    ],
)
def test_bad_rows_are_one_line(chatty, tmp_path, rows, expected, word):
    with pytest.raises(ValueError, match=word):
        instructions.load(
            jsonl(tmp_path / "a.jsonl", rows), chatty[0], "causal", Columns(**expected)
        )


def test_a_template_that_is_missing_is_one_line(tokenizer, tmp_path):
    file = jsonl(tmp_path / "a.jsonl", ROWS)
    with pytest.raises(ValueError, match="tokenizer has no chat_template, in tokenizer_config"):
        instructions.load(file, tokenizer, "causal", Columns(chat=True))
    if not tokenizer.vocabulary.marked:
        templated = dataclasses.replace(tokenizer, chat_template=CHATML)
        with pytest.raises(ValueError, match=r"allowed with a chat template is a tokenizer\.json"):
            instructions.load(file, templated, "causal", Columns(chat=True))


def test_bad_json_is_named_by_its_line(tmp_path):
    file = jsonl(tmp_path / "a.jsonl", ROWS[:1] * 16)
    file.write_text(file.read_text() + '{"prompt": "a",\n')
    with pytest.raises(ValueError, match=r"line 17 of file .* allowed is one JSON object per line"):
        tables.read(file)


def test_a_share_is_held_out(tmp_path):
    file = jsonl(tmp_path / "a.jsonl", ROWS * 10)
    task = instructions.load(file, vocabularies.llama(tmp_path / "t"), "causal", heldout=0.2)
    assert task.evaluation == "heldout" and len(task.split("heldout")) == 6
    both = np.concatenate([task.split(name).index for name in ("train", "heldout")])
    assert sorted(both) == list(range(30))


@pytest.mark.thorough  # tests/launch
def test_a_trained_model_has_a_lower_loss_and_matches(tmp_path):
    from finetune.models.parts.ops import PLAIN

    tokenizer = vocabularies.llama(tmp_path / "t")
    file = jsonl(tmp_path / "a.jsonl", [{"prompt": "Add:", "completion": " yes"}] * 8)
    task = instructions.load(file, tokenizer, "causal", heldout=0.5)

    def scores(network):
        batches = task.in_order("heldout", 4)
        result = task.gathered(
            "heldout", (task.answer(network, network.params, PLAIN, b) for b in batches)
        )
        return task.score(task.predict(result), task.labels("heldout"))

    network = talker("causal", tokenizer.size)
    before, after = scores(network), scores(trained(network, task))
    assert after["loss"] < 0.1 < 3 < before["loss"]
    assert before["exact_match"] == 0 and after["exact_match"] == 1
    assert task.gain(after["loss"]) > task.gain(before["loss"])
