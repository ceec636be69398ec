"""Experiments that need networks: the image study of the sequential paper."""

from finetune.experiments.setting import VisionSetting
from finetune.experiments.study import study

__all__ = ["VisionSetting", "study"]
