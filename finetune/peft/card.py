"""README.md of an exported folder: what it is, where it comes from, how to load it.

Every number in it is an argument; what is not known is left out.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence

LOAD_PEFT = """\
from peft import PeftModel
from transformers import {auto}

base = {auto}.from_pretrained({source})
model = PeftModel.from_pretrained(base, "FOLDER").eval()
"""
CALL_SPANS = "# Call model.base_model(**inputs): PEFT's own call leaves token_type_ids out."
LOAD_NAMED = """\
from peft import PeftModel
from transformers import AutoConfig, {auto}

config = AutoConfig.from_pretrained("FOLDER")  # with the names of the classes
base = {auto}.from_pretrained({source}, config=config)
model = PeftModel.from_pretrained(base, "FOLDER").eval()
"""
LOAD_BARE = """\
from peft import PeftModel

# `base` is a torch model with the module paths of the adapter.
model = PeftModel.from_pretrained(base, "FOLDER").eval()
"""
LOAD_MERGED = """\
from transformers import {auto}

model = {auto}.from_pretrained("FOLDER").eval()
"""
LOAD_OWN = """\
import jax
from finetune.models import load

config, model = load("FOLDER", labels={labels}, key=jax.random.key(0))
"""
LOAD_BACKBONE = """\
from safetensors.torch import load_file
from transformers import AutoModel

model = AutoModel.from_pretrained("FOLDER").eval()
head = load_file("FOLDER/head.safetensors")

def mean(inputs):
    \"\"\"What the head reads: the mean over the tokens that are not padding.\"\"\"
    mask = inputs["attention_mask"][..., None]
    return (model(**inputs).last_hidden_state * mask).sum(1) / mask.sum(1)
"""
AUTO = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
}


@dataclasses.dataclass(frozen=True)
class Card:
    """What a model card says beyond ranks and base; None is left out.

    Attributes:
      method: how it was trained.
      data: on what.
      metric: name of the score.
      score: on the evaluation split, after the last step.
      majority: what the most frequent class would score.
      notes: sentences of their own.
    """

    method: str | None = None
    data: str | None = None
    metric: str | None = None
    score: float | None = None
    majority: float | None = None
    notes: tuple[str, ...] = ()


def render(
    card: Card,
    ranks: Mapping[str, int],
    *,
    form: str,
    base: str,
    revision: str | None,
    labels: int | None,
    parameters: int,
    task_type: str | None = "SEQ_CLS",
    classes: Sequence[str] = (),
    tokenizer: bool = False,
) -> str:
    """The text of README.md.

    Args:
      card: see `Card`.
      ranks: module path -> rank, zeros included.
      form: "peft", "merged", or of a merged network that transformers does not have "backbone",
        where it has that, or "own".
      base, revision: the base model.
      labels: columns of the logits, 0 of a language model, None for an adapter without a head.
      parameters: entries of all factors.
      task_type: what the network does, by PEFT's names; not read where `labels` is None.
      classes: names of the classes by number.
      tokenizer: its files are in the folder.

    Example:
      >>> text = render(Card(method="lora"), {"fc1": 2}, form="peft", base="b", revision=None,
      ...               labels=None, parameters=8)
      >>> "| `fc1` | 2 |" in text
      True
    """
    front = {
        "base_model": base,
        "library_name": {"own": "rankwise", "peft": "peft"}.get(form, "transformers"),
        "tags": ["lora"] if ranks else [],  # else the network was trained whole
    }
    # JSON is YAML, with strings quoted for good.
    lines = ["---", *(f"{name}: {json.dumps(value)}" for name, value in front.items()), "---", ""]
    kind = "Adapter for" if form == "peft" else "Adapted from"
    lines += [f"# {kind} {_line(base)}", ""]
    lines += [f"* {name}: {text}" for name, text in _facts(card, base, revision, parameters)]
    if classes:
        named = (f"{number} {_line(name)}" for number, name in enumerate(classes))
        lines.append(f"* classes: {', '.join(named)}")
    if ranks:
        lines += ["", "## Ranks", "", *rank_table(ranks)]
    lines += [
        "",
        "## Use",
        "",
        "```python",
        *_usage(form, base, revision, labels, task_type, bool(classes)),
        "```",
    ]
    if tokenizer:
        lines += ["", "The tokenizer is the base model's; its files are in the folder."]
    elif form != "own" and labels is not None:
        lines += ["", "The tokenizer is the base model's."]
    return "\n".join(lines) + "\n"


def rank_table(ranks: Mapping[str, int]) -> list[str]:
    """Lines of a table: a row per kind of module, a column per layer.

    Example:
      >>> print("\\n".join(rank_table({"layer.0.key": 1, "layer.1.key": 0, "layer.1.out": 3})))
      | module | 0 | 1 |
      |---|---|---|
      | `layer.*.key` | 1 | 0 |
      | `layer.*.out` |  | 3 |
    """
    rows: dict[str, dict[int, int]] = {}
    for path, rank in ranks.items():
        layer = re.search(r"\.(\d+)\.", path)
        name = path if layer is None else f"{path[: layer.start()]}.*.{path[layer.end() :]}"
        rows.setdefault(name, {})[-1 if layer is None else int(layer[1])] = rank
    columns = sorted({layer for row in rows.values() for layer in row})
    heads = ["rank" if layer < 0 else str(layer) for layer in columns]
    table = [["module", *heads]]
    for name in sorted(rows):
        table.append([f"`{name}`", *(str(rows[name].get(layer, "")) for layer in columns)])
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return [lines[0], "|" + "---|" * len(table[0]), *lines[1:]]


def _facts(card: Card, base: str, revision: str | None, parameters: int) -> list[tuple[str, str]]:
    facts = [
        ("method", card.method),
        ("base model", f"`{_line(base)}`"),
        ("revision", None if revision is None else f"`{_line(revision)}`"),
        ("data", card.data),
        (card.metric or "score", _number(card.score)),
        ("the most frequent class scores", _number(card.majority)),
        ("parameters in the factors", f"{parameters:,}"),
        *(("note", note) for note in card.notes),
    ]
    return [(_line(name), _line(text)) for name, text in facts if text is not None]


def _usage(
    form: str,
    base: str,
    revision: str | None,
    labels: int | None,
    task_type: str | None,
    named: bool,
) -> list[str]:
    if form == "own":
        return LOAD_OWN.format(labels=labels).splitlines()
    if form == "backbone":
        return LOAD_BACKBONE.splitlines()
    if form == "merged":
        return LOAD_MERGED.format(auto=AUTO[task_type]).splitlines()
    if labels is None:
        return LOAD_BARE.splitlines()
    source = json.dumps(base)
    source += f", num_labels={labels}" if labels and not named else ""
    source += "" if revision is None else f", revision={json.dumps(revision)}"
    text = LOAD_NAMED if named else LOAD_PEFT
    lines = text.format(source=source, auto=AUTO[task_type]).splitlines()
    return [*lines, CALL_SPANS] if task_type == "QUESTION_ANS" else lines


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _line(text: str) -> str:
    return " ".join(str(text).split())
