"""Low-rank training from scratch: GaLore, ReLoRA, AdaRankGrad."""
