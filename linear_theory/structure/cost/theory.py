"""What a training step of one linear layer costs: products of matrices, and numbers to keep.

Legend: a layer W (m, n) on N tokens X (n, N), targets (m, N); r the rank of an adapter B (m, r),
A (r, n); k = 2r the size of the L factors of a compressed deep adapter U C_L ... C_1 V^T, U (m, k),
V (n, k). A product of (a, b) with (b, c) is 2 a b c operations. The gradient with respect to the
inputs of the layer, 2 m n N more with W and as much as a forward pass with an adapter, is left out:
the first layer needs none. Changes of subspace are left out, too, but for `refresh_operations`.
"""

from __future__ import annotations

from typing import NamedTuple


class Layer(NamedTuple):
    """Sizes: m outputs, n inputs, N tokens, adapter rank r, L factors of a deep adapter."""

    outputs: int
    inputs: int
    tokens: int
    rank: int
    depth: int = 3


def full_operations(layer: Layer) -> int:
    """Forward and weight gradient of full training: 4 m n N.

    Source: counted; arXiv 2503.19859, appendix B, is about these counts.

    Example:
      >>> full_operations(Layer(2, 3, 5, 1))
      120
    """
    m, n, tokens = layer[:3]
    return 4 * m * n * tokens


def adapter_operations(layer: Layer) -> int:
    """LoRA on activations, W X + B (A X): 2 m n N + 4 r n N + 6 r m N.

    Forward W X, A X, B (A X); backward E (A X)^T, B^T E, (B^T E) X^T.

    Source: counted.

    Example:
      >>> adapter_operations(Layer(2, 3, 5, 1))
      180
    """
    m, n, tokens, r = layer[:4]
    return 2 * m * n * tokens + 4 * r * n * tokens + 6 * r * m * tokens


def merged_operations(layer: Layer) -> int:
    """LoRA on weights, (W + B A) X: 4 m n N + 6 m n r.

    No saving over full training, and more than on activations while r (2 n + 3 m) <= m n.

    Source: counted.

    Example:
      >>> merged_operations(Layer(2, 3, 5, 1))
      156
    """
    m, n, tokens, r = layer[:4]
    return 4 * m * n * tokens + 6 * m * n * r


def projected_operations(layer: Layer) -> int:
    """GaLore: full training and B (B^T G): 4 m n N + 4 m n r.

    Source: counted.

    Example:
      >>> projected_operations(Layer(2, 3, 5, 1))
      144
    """
    m, n, tokens, r = layer[:4]
    return 4 * m * n * tokens + 4 * m * n * r


def deep_operations(layer: Layer) -> int:
    """Deep LoRA, W X + U C_L ... C_1 (V^T X): 2 m n N + 2 k n N + 4 k m N + 2 k^2 N (3 L - 1).

    Source: counted.

    Example:
      >>> deep_operations(Layer(2, 3, 5, 1))
      520
    """
    m, n, tokens, r, depth = layer
    k = 2 * r
    frames = 2 * k * n * tokens + 4 * k * m * tokens
    return 2 * m * n * tokens + frames + 2 * k**2 * tokens * (3 * depth - 1)


def factored_operations(layer: Layer) -> int:
    """A layer of factors alone, B (A X): 4 r n N + 6 r m N, an adapter's without W X.

    Source: counted; arXiv 2503.19859, section 3.3, has query matrices of this form.

    Example:
      >>> factored_operations(Layer(2, 3, 5, 1))
      120
    """
    m, n, tokens, r = layer[:4]
    return 4 * r * n * tokens + 6 * r * m * tokens


def refresh_operations(layer: Layer, sweeps: int) -> int:
    """A new basis for B: the full gradient, and sweeps of G (G^T B): 4 m n N + 4 m n r sweeps.

    A fixed basis in place of a projected gradient takes adapter_operations, and this once in T
    steps. Orthonormalisation, of order m r^2, is left out.

    Source: counted; arXiv 2503.19859, theorem 4, remark.

    Example:
      >>> refresh_operations(Layer(2, 3, 5, 1), 2)
      168
    """
    m, n, _, r = layer[:4]
    return full_operations(layer) + 4 * m * n * r * sweeps


def factored_numbers(layer: Layer) -> int:
    """B and A with their moments: 3 r (m + n).

    Source: counted.

    Example:
      >>> factored_numbers(Layer(2, 3, 5, 1))
      15
    """
    return 3 * layer.rank * (layer.outputs + layer.inputs)


def full_numbers(layer: Layer) -> int:
    """Weights and Adam's two moments: 3 m n.

    Source: arXiv 2403.03507, table 1.

    Example:
      >>> full_numbers(Layer(2, 3, 5, 1))
      18
    """
    return 3 * layer.outputs * layer.inputs


def adapter_numbers(layer: Layer) -> int:
    """W, and B and A with their moments: m n + 3 r (m + n).

    Source: arXiv 2403.03507, table 1.

    Example:
      >>> adapter_numbers(Layer(2, 3, 5, 1))
      21
    """
    m, n, _, r = layer[:4]
    return m * n + 3 * r * (m + n)


def projected_numbers(layer: Layer) -> int:
    """W, the basis, and moments of the projected gradient: m n + m r + 2 r n.

    With the basis on the side of the m outputs; the least for m <= n.

    Source: arXiv 2403.03507, table 1.

    Example:
      >>> projected_numbers(Layer(2, 3, 5, 1))
      14
    """
    m, n, _, r = layer[:4]
    return m * n + m * r + 2 * r * n


def deep_numbers(layer: Layer) -> int:
    """W, two frames, and L factors of size k with their moments: m n + k (m + n) + 3 L k^2.

    Source: counted, from arXiv 2503.19859, section 2.3 (Deep LoRA).

    Example:
      >>> deep_numbers(Layer(2, 3, 5, 1))
      52
    """
    m, n, _, r, depth = layer
    k = 2 * r
    return m * n + k * (m + n) + 3 * depth * k**2


def saved_by_projection(shapes: list[tuple[int, int]], rank: int, whole: int = 0) -> float:
    """The share of Adam's numbers that GaLore saves: 1 - sum (m r + 2 r n) / sum 2 m n, m <= n.

    Args:
      shapes: of the matrices whose gradients are projected. rank: r.
      whole: numbers of other weights, which keep both of their moments.

    Source: arXiv 2403.03507, table 1, whose text has up to 65.5 per cent; that is about a Llama of
    7 B parameters at rank 1024, as below.

    Example:
      >>> layer = 4 * [(4096, 4096)] + 3 * [(4096, 11008)]
      >>> round(saved_by_projection(32 * layer, 1024, whole=2 * 32000 * 4096), 3)
      0.651
    """
    both = sum(2 * m * n for m, n in shapes) + 2 * whole
    sizes = [(min(shape), max(shape)) for shape in shapes]
    return 1 - (sum(rank * (m + 2 * n) for m, n in sizes) + 2 * whole) / both
