"""The files of a model's tokenizer, for a folder that others read: copied as they are."""

from __future__ import annotations

import pathlib

FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spm.model",
    "spiece.model",
    "tokenizer.model",
    "chat_template.jinja",
)


def of_model(source: str, revision: str | None = None) -> tuple[pathlib.Path, ...]:
    """The files among FILES of a model folder or of a name on the Hub.

    Raises:
      ValueError: neither a folder nor a name that can be reached.
    """
    folder = pathlib.Path(source)
    if not folder.is_dir():
        import huggingface_hub

        try:
            given = {"revision": revision, "allow_patterns": list(FILES)}
            folder = pathlib.Path(huggingface_hub.snapshot_download(source, **given))
        except (OSError, ValueError) as error:
            line = str(error).splitlines()[0]
            raise ValueError(f"the tokenizer of {source!r} cannot be had ({line})") from None
    return tuple(folder / name for name in FILES if (folder / name).is_file())
