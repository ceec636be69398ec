"""Weights of pretrained models on disk: read without torch, checked strictly, written back."""
