"""Reads adapter_config.json of LoRA, DoRA and AdaLoRA; its patterns mean what they mean to PEFT.

Source: PEFT 0.21.2, tuners/lora/{config,model}.py, tuners/adalora/{config,layer,model}.py and
utils/other.py (get_pattern_key).
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from finetune.peft.naming import KINDS
from finetune.weights.files import read_json

FILE = "adapter_config.json"
BIASES = ("none", "all", "lora_only")
NOTHING = "dummy-target-modules"
"""PEFT's own word for an adapter without modules; an empty list is an error there."""

# Starts that leave the base as it was. The others (pissa, olora, ...) subtract from it, and the
# tensors alone do not say what.
PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")
# Entries without influence on the network, or that are looked at below. An entry that is not named
# here switches something on, unless its value is empty.
# fmt: off
KNOWN = frozenset([
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "beta1", "beta2", "bias", "deltaT",
    "ensure_weight_tying", "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode",
    "init_lora_weights", "init_r", "layers_pattern", "layers_to_transform", "lora_alpha",
    "lora_dropout", "megatron_core", "modules_to_save", "orth_reg_weight", "peft_type",
    "peft_version", "qalora_group_size", "r", "rank_pattern", "revision", "runtime_config",
    "target_modules", "target_r", "task_type", "tfinal", "tinit", "total_step", "use_dora",
    "use_rslora",
])
# fmt: on
# PEFT saves these modules for these tasks without being asked.
TASK_HEADS = {
    "SEQ_CLS": ("classifier", "score"),
    "TOKEN_CLS": ("classifier", "score"),
    "QUESTION_ANS": ("qa_outputs",),
}


@dataclasses.dataclass(frozen=True)
class AdapterConfig:
    """What adapter_config.json says, as far as it shapes the network.

    Attributes:
      peft_type: "LORA" or "ADALORA".
      base, revision: of the base model, None if not given.
      task_type: "SEQ_CLS", ..., or None.
      rank: of modules that no pattern names; the first rank of AdaLoRA.
      alpha: likewise.
      stabilised: scale alpha / sqrt(r) (rsLoRA).
      dora: every module has a magnitude beside its factors.
      rank_pattern: module -> rank; module -> kept or not, per component (AdaLoRA).
      alpha_pattern: module -> alpha.
      modules_to_save: names that end the paths of modules stored whole.
      raw: all entries.
    """

    peft_type: str
    base: str | None
    revision: str | None
    task_type: str | None
    rank: int
    alpha: float
    stabilised: bool
    dora: bool
    rank_pattern: Mapping[str, Any]
    alpha_pattern: Mapping[str, float]
    modules_to_save: tuple[str, ...]
    raw: Mapping[str, Any]

    def rank_of(self, path: str) -> int:
        """The rank that PEFT gives a module before it reads the tensors."""
        if self.peft_type == "ADALORA":
            kept = self.rank_pattern.get(path)
            return self.rank if kept is None else sum(kept)
        return self.rank_pattern.get(pattern_key(self.rank_pattern, path), self.rank)

    def scale_of(self, path: str, rank: int) -> float:
        """s in y = x W + s (x A) B."""
        if self.peft_type == "ADALORA":
            # The first rank, whatever is left of it, and never alpha_pattern or rsLoRA.
            return (self.alpha if self.alpha > 0 else self.rank) / (self.rank + 1e-5)
        alpha = self.alpha_pattern.get(pattern_key(self.alpha_pattern, path), self.alpha)
        return alpha / (rank**0.5 if self.stabilised else rank)


def pattern_key(pattern: Iterable[str], path: str) -> str | None:
    """The first key of a pattern that fits a module: a regular expression on the path's end.

    Example:
      >>> pattern_key(["key", r"layer\\.1\\..*"], "bert.layer.1.key")
      'key'
    """
    return next((k for k in pattern if re.match(rf"(.*\.)?({k})$", path)), None)


def read_config(folder: str | os.PathLike) -> AdapterConfig:
    """The configuration of an adapter's folder.

    Raises:
      ValueError: no adapter_config.json, or one that `parse` refuses; one line with the file.
    """
    path = pathlib.Path(folder) / FILE
    raw = read_json(path)
    try:
        return parse(raw)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse(raw: Mapping[str, Any]) -> AdapterConfig:
    """`AdapterConfig` from the entries of adapter_config.json.

    Args:
      raw: the entries.

    Raises:
      ValueError: a peft_type, a variant or an entry that would change the network in a way not
        known here; all of them in one line.
    """
    kind = raw.get("peft_type")
    if kind not in KINDS:
        raise ValueError(f"peft_type is {kind!r}; allowed are {', '.join(map(repr, KINDS))}")
    problems = _variants(raw) + _types(raw)
    if problems:
        raise ValueError("; ".join(problems))

    def given(name, default):
        return default if raw.get(name) is None else raw[name]

    ranks = given("rank_pattern", {})
    if kind == "ADALORA":
        # Keys end in .lora_E, in older files with the adapter's name behind it.
        ranks = {key.split(".lora_E")[0]: kept for key, kept in ranks.items()}
    task = raw.get("task_type")
    saved = (*given("modules_to_save", ()), *TASK_HEADS.get(task, ()))
    return AdapterConfig(
        peft_type=kind,
        base=raw.get("base_model_name_or_path"),
        revision=raw.get("revision"),
        task_type=task,
        rank=given("init_r", 12) if kind == "ADALORA" else given("r", 8),
        alpha=given("lora_alpha", 8),
        stabilised=raw.get("use_rslora") is True,
        dora=raw.get("use_dora") is True,
        rank_pattern=ranks,
        alpha_pattern=given("alpha_pattern", {}),
        modules_to_save=tuple(dict.fromkeys(saved)),
        raw=dict(raw),
    )


def _variants(raw: Mapping[str, Any]) -> list[str]:
    problems = []
    if raw.get("use_dora") and raw["peft_type"] != "LORA":
        problems.append(f"use_dora is {raw['use_dora']!r}, which only peft_type 'LORA' has")
    if raw.get("bias") not in (None, *BIASES):
        allowed = ", ".join(map(repr, BIASES))
        problems.append(f"bias is {raw['bias']!r}; allowed are {allowed}")
    start = raw.get("init_lora_weights", True)
    if not any(start is plain or start == plain for plain in PLAIN_STARTS):
        problems.append(
            f"init_lora_weights is {start!r}, which changes the base model; let PEFT convert the "
            "adapter to plain LoRA (path_initial_model_for_weight_conversion)"
        )
    unknown = [n for n, value in raw.items() if value and n not in KNOWN]
    return problems + [f"{name} is {raw[name]!r}, which is not known here" for name in unknown]


def _types(raw: Mapping[str, Any]) -> list[str]:
    """Entries that are computed with, and their types."""

    def number(value):
        real = isinstance(value, int | float) and not isinstance(value, bool)
        return real and math.isfinite(value)  # Python's JSON has NaN and infinities

    def rank(value):
        return isinstance(value, int) and not isinstance(value, bool) and value > 0

    def kept(value):
        return isinstance(value, list) and all(isinstance(v, bool) for v in value)

    def pattern(value, holds):
        return isinstance(value, dict) and all(
            _expression(k) and holds(v) for k, v in value.items()
        )

    def texts(value):
        return isinstance(value, list) and all(isinstance(v, str) for v in value)

    one = kept if raw["peft_type"] == "ADALORA" else rank
    rules = {
        "r": (rank, "an integer >= 1"),
        "init_r": (rank, "an integer >= 1"),
        "lora_alpha": (number, "a finite number"),
        "use_dora": (lambda v: isinstance(v, bool), "true or false"),
        "use_rslora": (lambda v: isinstance(v, bool), "true or false"),
        "rank_pattern": (lambda v: pattern(v, one), "an object of ranks"),
        "alpha_pattern": (lambda v: pattern(v, number), "an object of finite numbers"),
        "modules_to_save": (texts, "a list of names"),
        "target_modules": (lambda v: texts(v) or _expression(v), "a list of names or a pattern"),
        "exclude_modules": (lambda v: texts(v) or _expression(v), "a list of names or a pattern"),
    }
    return [
        f"{name} is {str(raw[name])[:80]!r}; allowed is {allowed}"
        for name, (holds, allowed) in rules.items()
        if raw.get(name) is not None and not holds(raw[name])
    ]


def _expression(text: Any) -> bool:
    try:
        re.compile(text)
    except (re.error, TypeError):
        return False
    return True
