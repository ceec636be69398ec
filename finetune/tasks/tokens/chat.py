"""Chats as the text that a model was trained on: the tokenizer's own template, rendered.

The environment is the one that templates are written for: sandboxed jinja2 that strips blocks,
knows `raise_exception`, `strftime_now`, `tojson`, loop controls and the tag `generation`.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from finetune.weights.files import read_json

FILE = "chat_template.jinja"
ROLES = ("bos_token", "eos_token", "pad_token", "unk_token")
Message = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Chat:
    """A template with the special tokens that it writes.

    Attributes:
      template: jinja2 source.
      tokens: name, as bos_token, -> text.

    Raises:
      ValueError: a template that jinja2 cannot read.

    Example:
      >>> chat = Chat("{% for m in messages %}{{ m.role }}: {{ m.content }}\\n{% endfor %}")
      >>> chat.text([{"role": "user", "content": "Hi"}])
      'user: Hi\\n'
    """

    template: str
    tokens: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        _compiled(self.template)

    def text(self, messages: Sequence[Message], answering: bool = False) -> str:
        """The chat as one text.

        Args:
          messages: each with role and content, and whatever else the template reads.
          answering: ends where the assistant's next answer begins.

        Raises:
          ValueError: messages that the template refuses.
        """
        import jinja2

        given = {"messages": list(messages), "tools": None, "documents": None}
        try:
            return _compiled(self.template).render(
                **self.tokens, **given, add_generation_prompt=answering
            )
        except (jinja2.TemplateError, TypeError) as error:
            raise ValueError(f"the chat template refuses these messages: {error}") from None

    def turn(self, messages: Sequence[Message]) -> tuple[str, str]:
        """What stands before the last message, and that message as it goes on from there.

        Raises:
          ValueError: as `text`; a template that writes a chat otherwise than its beginning.
        """
        before, whole = self.text(messages[:-1], answering=True), self.text(messages)
        if not whole.startswith(before):
            raise ValueError(
                "the chat template does not begin an answer as it writes one "
                f"({before[-20:]!r} is not in its place); allowed are templates that do"
            )
        return before, whole[len(before) :]


def of_folder(folder: pathlib.Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """chat_template (None where there is none) and special_tokens of a tokenizer's folder.

    Args:
      settings: the entries of its tokenizer_config.json.
    """
    template = default(settings.get("chat_template"))
    if (folder / FILE).is_file():
        template = (folder / FILE).read_text(encoding="utf-8")
    named = dict(settings)
    if (folder / "special_tokens_map.json").is_file():
        named = {**read_json(folder / "special_tokens_map.json"), **named}
    return {"chat_template": template, "special_tokens": texts(named)}


def default(template: Any) -> str | None:
    """The template "default" of several by name, as a mapping or a list of entries."""
    if isinstance(template, list):
        template = {one["name"]: one["template"] for one in template}
    return template.get("default") if isinstance(template, dict) else template


def texts(named: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens among `named` as texts: name -> token.

    Example:
      >>> texts({"eos_token": {"content": "</s>"}, "bos_token": None, "size": 3})
      {'eos_token': '</s>'}
    """
    tokens = {role: named.get(role) for role in ROLES}
    tokens = {r: t.get("content") if isinstance(t, dict) else t for r, t in tokens.items()}
    return {role: str(token) for role, token in tokens.items() if token is not None}


@functools.lru_cache(maxsize=8)
def _compiled(template: str) -> Any:
    import jinja2
    from jinja2 import ext, nodes, sandbox

    class Generation(ext.Extension):
        """{% generation %} marks an answer for others; what is in it is written as it is."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        # jinja2's own escapes characters of HTML.
        return json.dumps(
            value,
            ensure_ascii=ensure_ascii,
            indent=indent,
            separators=separators,
            sort_keys=sort_keys,
        )

    def raise_exception(message):
        raise jinja2.TemplateError(message)

    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda text: datetime.datetime.now().strftime(text)
    try:
        return environment.from_string(template)
    except jinja2.TemplateError as error:
        raise ValueError(f"the chat template is no template of jinja2: {error}") from None
