"""tokenizer_config.json beside a sentencepiece model: what of it is done here, and what is refused.

Beside a tokenizer.json it is left to transformers, which knows every entry. Of a sentencepiece
model, which is read without transformers, entries that change token ids are one of these: cuts on
the left (truncation_side), special tokens around a text (add_bos_token, add_eos_token), or refused.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from finetune.weights.files import read_json

FILE = "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
SIDES = ("right", "left")
# Entries that change ids, with what the sentencepiece models here do.
FIXED = {
    "do_lower_case": (False,),
    "split_by_punct": (False,),
    "add_prefix_space": (True, None),
    "keep_accents": (True, None),
    "remove_space": (True, None),
    "sp_model_kwargs": ({}, None),
    "truncation_side": SIDES,
}


def beside(folder: pathlib.Path) -> dict[str, Any]:
    """The entries of the file in a folder; {} if there is none."""
    return read_json(folder / FILE) if (folder / FILE).is_file() else {}


def chat_template(folder: pathlib.Path) -> str | None:
    """The template of conversations in a folder, from its own file or else from FILE.

    Raises:
      ValueError: a file that cannot be read, or a template that is not text.
    """
    path = folder / TEMPLATE
    if not path.is_file():
        return default_template(beside(folder).get("chat_template"))
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def default_template(given: Any) -> str | None:
    """One template of what a tokenizer has: text, or several by name, of which "default" is it.

    Raises:
      ValueError: anything else.

    Example:
      >>> default_template([{"name": "default", "template": "a"}, {"name": "rag", "template": "b"}])
      'a'
    """
    if isinstance(given, list):
        given = {part.get("name"): part.get("template") for part in given if isinstance(part, dict)}
    if isinstance(given, dict):
        given = given.get("default")
    if not (given is None or isinstance(given, str)):
        raise ValueError(f"chat_template is {given!r}; allowed is text, or texts by their names")
    return given


def require(settings: Mapping[str, Any], model: Any, size: int, roles: Mapping[str, str]) -> None:
    """Refuses entries with which a sentencepiece model would give other ids than it does here.

    Args:
      model: a `sentencepiece.SentencePieceProcessor`.
      size: ids that the tokenizer knows, those behind the pieces included.
      roles: the special tokens that are put around a text, as "eos_token" -> "</s>".

    Raises:
      ValueError: one line that names the entry.
    """
    for name, allowed in FIXED.items():
        if name in settings and settings[name] not in allowed:
            _refuse(name, settings[name], " or ".join(map(repr, allowed)))
    for role, piece in roles.items():
        if role in settings and _content(settings[role]) != piece:
            _refuse(role, _content(settings[role]), repr(piece))
    pieces = model.get_piece_size()
    for number, token in (settings.get("added_tokens_decoder") or {}).items():
        number, text = int(number), _content(token)
        known = number < size and (number >= pieces or model.id_to_piece(number) == text)
        special = not isinstance(token, dict) or token.get("special", True)
        if not (known and special):
            _refuse("added_tokens_decoder", f"{number}: {text}", "the model's own special tokens")


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _refuse(name: str, value: Any, allowed: str) -> None:
    raise ValueError(
        f"{FILE} has {name} {value!r}, which changes token ids; allowed with a sentencepiece "
        f"model is {allowed} (with a tokenizer.json in its place transformers reads it)"
    )
