"""The files of a model's tokenizer, for a folder that others read: copied as they are.

A GGUF file has none of them, and those that it stands for are made.
"""

from __future__ import annotations

import atexit
import json
import pathlib
import shutil
import tempfile

from finetune.tasks.tokens import gguf_tokenizers
from finetune.tasks.tokens.tokenizer_settings import TEMPLATE
from finetune.weights.gguf_files import is_gguf

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
    TEMPLATE,
)


def of_model(source: str, revision: str | None = None) -> tuple[pathlib.Path, ...]:
    """The files among FILES of a model folder, of a GGUF file or of a name on the Hub.

    Raises:
      ValueError: neither a folder nor a name that can be reached; a GGUF file that is refused.
    """
    if is_gguf(source):
        return _of_gguf(source)
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


def _of_gguf(path: str) -> tuple[pathlib.Path, ...]:
    folder = pathlib.Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    files = folder / "tokenizer.json", folder / "tokenizer_config.json"
    gguf_tokenizers.backend_of(path).save(str(files[0]))
    text = json.dumps(gguf_tokenizers.settings(path), indent=2, ensure_ascii=False)
    files[1].write_text(text + "\n", encoding="utf-8")
    return files
