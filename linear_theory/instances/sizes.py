"""The sizes that figures of several topics have, and the documents they come from."""

from __future__ import annotations

from linear_theory.instances.setting import Setting

# The quick sizes keep n/d, and with it the conditioning of X, and the iterations per component.
QUICK = Setting(m=40, d=80, n=200, rank=8, trials=3)
PAPER = Setting()
ADAPTED_PUBLISHED = Setting(m=100, d=100, n=1600, rank=4, trials=3, design="gauss")
ONE = "arXiv 2505.22602"
TWO = "arXiv 2605.10741"
THREE = "arXiv 2502.01235"
