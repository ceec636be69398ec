"""From start and end scores to one span per question, and to none.

A span of tokens i to j has the score s_i + e_j; of each window the `n_best` likeliest starts and
ends are tried, those in order and of at most so many tokens count, and of all windows of a question
the best does. Saying nothing has the score s_0 + e_0 of the window that thinks least of it.

Source: Devlin et al. (2019), BERT, section 4.2 and 4.3; Rajpurkar et al. (2018), arXiv 1806.03822,
whose scoring script finds the threshold.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from finetune.tasks.squad import rules


class Candidates(NamedTuple):
    """What is kept of b windows.

    Attributes:
      scores: of the likeliest starts, and of the likeliest ends, float32 (b, 2, k), the best first;
        -inf where the window has fewer tokens of the paragraph.
      places: their tokens, counted from the window's first of the paragraph, int32 (b, 2, k).
      null: the score of saying nothing, float32 (b,).
    """

    scores: jax.Array
    places: jax.Array
    null: jax.Array


class Best(NamedTuple):
    """The best span of each of w windows: its score, -inf for none, first and last token; null."""

    score: np.ndarray
    first: np.ndarray
    last: np.ndarray
    null: np.ndarray


def candidates(logits: jax.Array, first: jax.Array, size: jax.Array, n_best: int) -> Candidates:
    """The likeliest starts and ends within the paragraph.

    Args:
      logits: (b, L, 2), of starts and of ends.
      first, size: (b,), the place of the paragraph's first token and how many there are.
      n_best: k.
    """
    logits = jnp.moveaxis(logits.astype(jnp.float32), -1, 1)
    places = jnp.arange(logits.shape[-1]) - first[:, None]
    inside = (places >= 0) & (places < size[:, None])
    masked = jnp.where(inside[:, None], logits, -jnp.inf)
    lacking = max(n_best - masked.shape[-1], 0)
    masked = jnp.pad(masked, [(0, 0), (0, 0), (0, lacking)], constant_values=-jnp.inf)
    scores, indices = jax.lax.top_k(masked, n_best)
    return Candidates(scores, indices - first[:, None, None], logits[:, :, 0].sum(axis=1))


def best(candidates: Candidates, longest: int) -> Best:
    """The best span of each window, of at most `longest` tokens."""
    scores, places = np.asarray(candidates.scores, np.float64), np.asarray(candidates.places)
    pair = scores[:, 0, :, None] + scores[:, 1, None, :]
    tokens = places[:, 1, None, :] - places[:, 0, :, None] + 1
    allowed = (tokens >= 1) & (tokens <= longest) & np.isfinite(pair)
    pair = np.where(allowed, pair, -np.inf).reshape(len(pair), -1)
    chosen = pair.argmax(axis=1)
    start, end = np.divmod(chosen, scores.shape[-1])
    row = np.arange(len(pair))
    first, last = places[row, 0, start], places[row, 1, end]
    return Best(pair[row, chosen], first, last, np.asarray(candidates.null, np.float64))


def of_rows(windows: Best, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each row the window with the best span, the first of several, and the least null score.

    Args:
      row: whose window each is, sorted, with every row from 0 on; int (w,).

    Returns:
      Numbers of windows, int (n,), and scores, float64 (n,).
    """
    begins = np.flatnonzero(np.diff(row, prepend=-1))
    highest = np.maximum.reduceat(windows.score, begins)
    number = np.arange(len(row))
    number = np.where(windows.score == highest[row], number, len(row))
    return np.minimum.reduceat(number, begins), np.minimum.reduceat(windows.null, begins)


def thresholds(
    spans: list[str], right: list[tuple[str, ...]], differences: np.ndarray
) -> dict[str, float]:
    """The scores at the best threshold of null score - span score, and these thresholds.

    Args:
      spans: the best span of every question, whatever its null score.
      right: the right answers.
      differences: null score - span score, (n,).

    Example:
      >>> scores = thresholds(["cat", "dog"], [("cat",), ()], np.array([1.5, 3.0]))
      >>> scores["best_exact"], scores["best_exact_thresh"]
      (1.0, 1.5)
    """
    answerable = np.array([bool(golds) for golds in right])
    blank = np.array([not span for span in spans])
    order = np.argsort(differences, kind="stable")
    result = {}
    for name, scores in zip(("f1", "exact"), rules.each(spans, right).T, strict=True):
        # From silence on every question, one after the other is answered.
        change = np.where(answerable, scores, np.where(blank, 0.0, -1.0))[order]
        total = np.concatenate([[0.0], np.cumsum(change)]) + np.sum(~answerable)
        at = int(total.argmax())
        result[f"best_{name}"] = float(total[at] / len(spans))
        result[f"best_{name}_thresh"] = float(differences[order[at - 1]]) if at else 0.0
    return result


def by_kind(scores: np.ndarray, right: list[tuple[str, ...]]) -> dict[str, float]:
    """The means over the questions with an answer and over those without, where there are any.

    Args:
      scores: f1 and exact match of every question, (n, 2).
    """
    answerable = np.array([bool(golds) for golds in right])
    result = {}
    for kind, chosen in (("HasAns", answerable), ("NoAns", ~answerable)):
        if chosen.any():
            mean = scores[chosen].mean(axis=0).tolist()
            result |= {f"{kind}_f1": mean[0], f"{kind}_exact": mean[1]}
    return result
