"""Which modules of a network an adapter_config.json adapts, and which it replaces as a whole.

PEFT follows the configuration and takes no notice of tensors without a module; here the two must
agree. Source: PEFT 0.21.2, tuners/tuners_utils.py (check_target_module_exists), utils/other.py
(_set_trainable).
"""

from __future__ import annotations

import re

from finetune.peft.config import NOTHING, AdapterConfig


def adapted(config: AdapterConfig, path: str) -> bool:
    """Whether PEFT puts an adapter on the module at `path`."""
    targets = config.raw.get("target_modules") or ()
    excluded = config.raw.get("exclude_modules") or ()
    if targets == NOTHING or _matches(excluded, path):
        return False
    if any(re.match(rf"(^|.*\.){name}($|\..*)", path) for name in config.modules_to_save):
        return False  # replaced as a whole
    if isinstance(targets, str) or path in targets:
        return _matches(targets, path)
    return _matches(targets, path) and _in_layers(config, path)


def replaced(config: AdapterConfig, name: str) -> bool:
    """Whether PEFT reads the parameter `name` from the adapter instead of the base.

    Names in modules_to_save match the end of a path, also in the middle of a word: `classifier`
    stands for DistilBERT's `pre_classifier` too.
    """
    parts = name.split(".")[:-1]
    owners = [".".join(parts[: i + 1]) for i in range(len(parts))]
    return any(owner.endswith(end) for owner in owners for end in config.modules_to_save)


def trained_bias(config: AdapterConfig, name: str) -> bool:
    """Whether the parameter `name` is a bias of the base that the adapter brings of its own."""
    trained = config.raw.get("bias") not in (None, "none") and name.endswith(".bias")
    return trained and not replaced(config, name)


def _matches(targets: str | list[str], path: str) -> bool:
    if isinstance(targets, str):
        return re.fullmatch(targets, path) is not None
    return any(path == target or path.endswith(f".{target}") for target in targets)


def _in_layers(config: AdapterConfig, path: str) -> bool:
    layers = config.raw.get("layers_to_transform")
    if layers is None or layers == []:
        return True
    names = config.raw.get("layers_pattern") or [r"[^.]*"]
    for name in [names] if isinstance(names, str) else names:
        match = re.match(rf"(?:^|.*?\.){name}\.(\d+)\.", path)
        if match:
            return int(match[1]) in ([layers] if isinstance(layers, int) else layers)
    return False
