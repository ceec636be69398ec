"""The metadata of a GGUF file as the entries of config.json.

What neither is known here nor repeats the shapes of tensors keeps its own name, and is then named
in the one warning of `finetune.models.config.parse`.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from finetune.models.parts.rotary import Rope, frequencies
from finetune.weights.gguf_files import ROPE_FACTORS, metadata, tensors

ARCHITECTURES = ("llama", "qwen2", "qwen3")
# Metadata behind the architecture's name -> config.json.
SIZES = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
}
MORE = {
    "context_length": "max_position_embeddings",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.sliding_window": "sliding_window",
    "rope.freq_base": "rope_theta",
    "expert_count": "num_experts",
}
SPECIAL = {"bos": "bos_token_id", "eos": "eos_token_id", "padding": "pad_token_id"}
# Said by the shapes of tensors, or read below.
OTHER = {
    *("attention.key_length", "attention.value_length", "rope.dimension_count", "vocab_size"),
    *("rope.scaling.type", "rope.scaling.factor"),
}


def config_json(path: str | os.PathLike) -> dict[str, Any]:
    """What the config.json of the same model says.

    Raises:
      ValueError: a file that cannot be read, an architecture that is not llama, qwen2 or qwen3,
        sizes that are missing, or rotary frequencies that are not Llama 3's.
    """
    values, shapes = metadata(path), {name: e.shape for name, e in tensors(path).items()}
    kind = values.get("general.architecture")
    if kind not in ARCHITECTURES:
        raise ValueError(
            f"{path} holds a model of architecture {kind!r}; "
            f"allowed are {', '.join(map(repr, ARCHITECTURES))}"
        )
    own = {n.removeprefix(f"{kind}."): v for n, v in values.items() if n.startswith(f"{kind}.")}
    missing = [f"{kind}.{name}" for name in SIZES if name not in own]
    missing += [name for name in ("token_embd.weight",) if name not in shapes]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)}, which every language model has")
    names, heads = SIZES | MORE, own["attention.head_count"]
    size = own.get("attention.key_length", own["embedding_length"] // heads)
    raw = {
        "model_type": kind,
        "vocab_size": shapes["token_embd.weight"][0],
        "tie_word_embeddings": "output.weight" not in shapes,
        "num_key_value_heads": heads,
        "head_dim": size,
        "partial_rotary_factor": own.get("rope.dimension_count", size) / size,
        "rope_scaling": _scaling(path, own, ROPE_FACTORS in shapes),
        # 0 where there are no windows and no experts.
        **{entry: own[name] for name, entry in names.items() if own.get(name)},
        **{f"{kind}.{n}": v for n, v in own.items() if n not in names and n not in OTHER},
    }
    return raw | {e: values.get(f"tokenizer.ggml.{name}_token_id") for name, e in SPECIAL.items()}


def _scaling(path: str | os.PathLike, own: dict, factors: bool) -> dict[str, Any] | None:
    kind = own.get("rope.scaling.type", "none")
    if factors:
        return _llama3(path, own.get("rope.freq_base", Rope.rope_theta))
    return None if kind == "none" else {"type": kind, "factor": own.get("rope.scaling.factor")}


def _llama3(path: str | os.PathLike, theta: float) -> dict[str, Any]:
    """The numbers behind the factors that the file holds, f_k / f'_k.

    Long waves are stretched by the largest of them; the other numbers are those of all Llamas that
    were published.
    """
    factors = tensors(path)[ROPE_FACTORS].read()
    scaling = {
        "rope_type": "llama3",
        "factor": float(factors.max()),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    try:
        plain, scaled = Rope(rope_theta=theta), Rope(rope_theta=theta, **scaling)
        ratio = frequencies(plain, 2 * factors.size) / frequencies(scaled, 2 * factors.size)
        fits = np.allclose(ratio, factors, rtol=1e-3)  # theirs are rounded to float32
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{path}: {ROPE_FACTORS} is not that of Llama 3.1 to 3.3, which is allowed"
        )
    return scaling
