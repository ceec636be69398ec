"""From text to tokens and back: tokenizers, their files, rows of any length."""
