"""The model card says what it was told, and nothing else."""

import re

from finetune.peft.card import Card, rank_table, render

RANKS = {
    "bert.encoder.layer.0.attention.self.query": 0,
    "bert.encoder.layer.10.attention.self.query": 3,
    "bert.encoder.layer.2.attention.self.query": 1,
    "bert.pooler.dense": 2,
}
FORM = {"form": "peft", "base": "org/base", "revision": "abc123", "labels": 2, "parameters": 12345}


def test_all_there():
    card = Card("adapad", "CoLA, dev", "matthews", 0.6543219, 0.0, ("Three seeds.",))
    text = render(card, RANKS, **FORM)
    for line in (
        'base_model: "org/base"',
        'library_name: "peft"',
        "# Adapter for org/base",
        "* method: adapad",
        "* base model: `org/base`",
        "* revision: `abc123`",
        "* data: CoLA, dev",
        "* matthews: 0.6543",
        "* the most frequent class scores: 0.0000",
        "* parameters in the factors: 12,345",
        "* note: Three seeds.",
        "| module | rank | 0 | 2 | 10 |",
        "| `bert.encoder.layer.*.attention.self.query` |  | 0 | 1 | 3 |",
        "| `bert.pooler.dense` | 2 |  |  |  |",
    ):
        assert line in text.splitlines(), line
    assert 'from_pretrained("org/base", num_labels=2, revision="abc123")' in text


def test_what_is_not_known_is_left_out():
    text = render(Card(), RANKS, **{**FORM, "revision": None, "labels": None})
    for word in ("method", "data:", "score", "revision", "num_labels", "None", "tokenizer"):
        assert word not in text, word
    numbers = re.findall(r"\d[\d,.]*", text.split("## Ranks")[0])
    assert numbers == ["12,345"]


def test_text_cannot_leave_its_line():
    text = render(Card(method="a\n# b"), {}, **{**FORM, "base": 'x"\ny: z'})
    assert "* method: a # b" in text.splitlines()
    assert r'base_model: "x\"\ny: z"' in text.splitlines()
    assert "## Ranks" not in text


def test_merged_and_own():
    merged = render(Card(), RANKS, **{**FORM, "form": "merged"})
    assert "PeftModel" not in merged and 'library_name: "transformers"' in merged
    own = render(Card(), RANKS, **{**FORM, "form": "own", "labels": 7})
    assert 'load("FOLDER", labels=7' in own and "import torch" not in own
    assert "transformers" not in own


def test_code_compiles():
    for form in ("peft", "merged", "own"):
        for labels in (None, 2):
            text = render(Card(), RANKS, **{**FORM, "form": form, "labels": labels})
            compile(text.split("```python\n")[1].split("```")[0], "README.md", "exec")


def test_no_layers():
    assert rank_table({"fc1": 1, "fc2": 0}) == [
        "| module | rank |",
        "|---|---|",
        "| `fc1` | 1 |",
        "| `fc2` | 0 |",
    ]
