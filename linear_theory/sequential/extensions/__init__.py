"""The paper's future work, each option once."""
