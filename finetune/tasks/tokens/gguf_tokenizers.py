"""The tokenizer that a GGUF file holds: byte pairs of GPT-2's kind, or Llama 2's sentencepiece.

The file has pieces, merges or scores, and the name of a way to cut text into words; the rules
behind that name are llama.cpp's (llama-vocab.cpp), which took them from the models' own files.
"""

from __future__ import annotations

import os
from typing import Any

from finetune.weights.gguf_files import metadata

# Kinds of pieces, tokenizer.ggml.token_type.
CONTROL, USER_DEFINED = 3, 4
ROLES = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
# A word of letters with what stands before it, `{digits}` together, marks, line ends, spaces.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}"
    r"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = WORDS.format(digits=r"\p{N}")
LLAMA3 = WORDS.format(digits=r"\p{N}{1,3}")
CUTS = ("gpt-2", "smollm", "qwen2", "llama-bpe")


def backend_of(path: str | os.PathLike) -> Any:
    """The `tokenizers.Tokenizer` of a file, special tokens around a text as the file says.

    Raises:
      ValueError: a file that cannot be read, without a tokenizer, or with one that is not known.
    """
    from tokenizers import AddedToken, processors

    values = _of_tokenizer(path)
    kind, pieces = values.get("model"), values.get("tokens")
    if kind not in ("gpt2", "llama") or pieces is None:
        raise ValueError(f"{path} has a tokenizer of kind {kind!r}; allowed are 'gpt2' and 'llama'")
    backend = (_byte_pairs if kind == "gpt2" else _sentencepiece)(path, values)
    kinds = values.get("token_type") or [1] * len(pieces)
    for mark, special in ((CONTROL, True), (USER_DEFINED, False)):
        added = [p for p, own in zip(pieces, kinds, strict=True) if own == mark]
        tokens = [AddedToken(piece, special=special, normalized=False) for piece in added]
        (backend.add_special_tokens if special else backend.add_tokens)(tokens)
    before = _around(values, "bos", kind == "llama")
    after = _around(values, "eos", False)
    if before or after:
        first = [*before, "$A", *after]
        second = [f"{part}:1" for part in (*before, "$B", *after)]
        special = [(piece, pieces.index(piece)) for piece in {*before, *after}]
        backend.post_processor = processors.TemplateProcessing(
            single=first, pair=[*first, *second], special_tokens=special
        )
    return backend


def special_ids(path: str | os.PathLike) -> tuple[int | None, int | None]:
    """The ids that fill batches up and that end a text, where the file has them."""
    values = _of_tokenizer(path)
    return values.get("padding_token_id"), values.get("eos_token_id")


def chat_template(path: str | os.PathLike) -> str | None:
    """The template of conversations, in Jinja's language; None where the file has none."""
    return metadata(path).get("tokenizer.chat_template")


def settings(path: str | os.PathLike) -> dict[str, Any]:
    """The tokenizer_config.json of the same tokenizer."""
    values = _of_tokenizer(path)
    numbers = {role: values.get(f"{name}_token_id") for role, name in ROLES.items()}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{role: values["tokens"][n] for role, n in numbers.items() if n is not None},
        **({"chat_template": template} if (template := chat_template(path)) else {}),
    }


def _of_tokenizer(path: str | os.PathLike) -> dict[str, Any]:
    prefix = "tokenizer.ggml."
    values = metadata(path)
    return {n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix)}


def _around(values: dict[str, Any], end: str, usual: bool) -> list[str]:
    number = values.get(f"{end}_token_id")
    added = number is not None and values.get(f"add_{end}_token", usual)
    return [values["tokens"][number]] if added else []


def _byte_pairs(path: str | os.PathLike, values: dict[str, Any]) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    cut = values.get("pre", "gpt-2")
    if cut not in CUTS:
        raise ValueError(
            f"{path} cuts text as {cut!r} (tokenizer.ggml.pre); "
            f"allowed are {', '.join(map(repr, CUTS))}"
        )
    vocabulary = {piece: number for number, piece in enumerate(values["tokens"])}
    merges = [tuple(merge.split(" ", 1)) for merge in values.get("merges", ())]
    backend = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=cut == "llama-bpe"))
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=cut in ("gpt-2", "smollm"))
    if cut == "smollm":
        first = [pre_tokenizers.Digits(individual_digits=True)]
    elif cut == "gpt-2":
        first = []
    else:
        first = [pre_tokenizers.Split(Regex(QWEN2 if cut == "qwen2" else LLAMA3), "isolated")]
    backend.pre_tokenizer = pre_tokenizers.Sequence([*first, words])
    if cut == "qwen2":
        backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.ByteLevel()
    return backend


def _sentencepiece(path: str | os.PathLike, values: dict[str, Any]) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers

    del path
    pieces = values["tokens"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    unknown = values.get("unknown_token_id", 0)
    backend = Tokenizer(
        models.BPE(
            vocabulary,
            _merges(pieces, vocabulary, values["scores"]),
            unk_token=pieces[unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    spaced = values.get("add_space_prefix", True)
    mark = [normalizers.Prepend("▁")] if spaced else []
    backend.normalizer = normalizers.Sequence([*mark, normalizers.Replace(" ", "▁")])
    strip = [decoders.Strip(" ", 1, 0)] if spaced else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return backend


def _merges(pieces: list[str], vocabulary: dict[str, int], scores: list[float]):
    """Pairs of pieces that make a piece, the best score first: sentencepiece merges by scores."""
    pairs = []
    for number, piece in enumerate(pieces):
        for place in range(1, len(piece)):
            left, right = piece[:place], piece[place:]
            if left in vocabulary and right in vocabulary:
                pairs.append((-scores[number], vocabulary[left], vocabulary[right], left, right))
    return [pair[-2:] for pair in sorted(pairs)]
