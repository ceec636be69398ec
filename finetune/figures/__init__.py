"""Figures that need networks: arrays in, a matplotlib Figure out."""

from finetune.figures.vision import components, efficiency, flops, order, paths, spread

__all__ = ["components", "efficiency", "flops", "order", "paths", "spread"]
