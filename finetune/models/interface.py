"""What goes into a model and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax


class Inputs(NamedTuple):
    """Tokens of a batch, B sequences padded to L.

    Attributes:
      input_ids: (B, L) int32, within the vocabulary (a compiled look-up cannot check).
      attention_mask: (B, L), 1 for a token and 0 for padding.
      token_type_ids: (B, L) int32 or None for zeros; models without token types do not read it.
      decoder_input_ids: (B, T) int32 of an encoder-decoder language model: the labels shifted right
        behind the decoder's first token.
    """

    input_ids: jax.Array
    attention_mask: jax.Array
    token_type_ids: jax.Array | None = None
    decoder_input_ids: jax.Array | None = None


class Output(NamedTuple):
    """What a forward pass gives; what a caller does not use is not computed under jit.

    Attributes:
      logits: (B, labels) float32; one label is a regression. Of a language model (B, T, V): of a
        causal one those at t are for token t + 1, of an encoder-decoder for label t.
      hidden_states: the embedding output, then the output of every layer, (B, L, D) each in the
        compute dtype. Rows of padding hold numbers without a meaning. Of an encoder-decoder those
        of the decoder.
      encoder_hidden_states: of an encoder-decoder, the same for its encoder.
    """

    logits: jax.Array
    hidden_states: tuple[jax.Array, ...]
    encoder_hidden_states: tuple[jax.Array, ...] = ()


def tokens(inputs: Mapping[str, Any] | Any) -> Inputs:
    """`Inputs` from a mapping or from anything with these attributes; other entries are dropped."""
    if not isinstance(inputs, Mapping):
        inputs = {name: getattr(inputs, name, None) for name in Inputs._fields}
    more = (inputs.get(name) for name in ("token_type_ids", "decoder_input_ids"))
    return Inputs(inputs["input_ids"], inputs["attention_mask"], *more)


def pixels(inputs: Mapping[str, Any] | Any) -> jax.Array:
    """The array of a network without tokens, (B, ...) flattened to (B, in)."""
    x = inputs["pixels"] if isinstance(inputs, Mapping) else inputs.pixels
    return x.reshape(x.shape[0], -1)
