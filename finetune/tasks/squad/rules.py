"""Exact match and F1 of answers in words, by the rules of SQuAD's own scoring.

Answers are compared in lower case, without punctuation, without the articles a, an and the, and
with single spaces. Of several right answers the best counts. A question without any is answered by
saying nothing.

Source: Rajpurkar et al. (2016), arXiv 1606.05250, section 6.1; (2018), arXiv 1806.03822.
"""

from __future__ import annotations

import collections
import re
import string
from collections.abc import Sequence

import numpy as np

ARTICLES = re.compile(r"\b(?:a|an|the)\b")
METRICS = ("f1", "exact_match")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(answer: str) -> str:
    """What of an answer is compared.

    Example:
      >>> normalised("The  Eiffel-Tower, (a tower)")
      'eiffeltower tower'
    """
    return " ".join(ARTICLES.sub(" ", answer.lower().translate(PUNCTUATION)).split())


def exact(answer: str, right: str) -> float:
    """1 where two answers are equal, else 0."""
    return float(normalised(answer) == normalised(right))


def f1(answer: str, right: str) -> float:
    """2 P R / (P + R) of the words that two answers share; of an empty one, whether both are.

    Example:
      >>> f1("a cat on the mat", "the mat"), f1("", "cat"), f1("the", "")
      (0.5, 0.0, 1.0)
    """
    ours, theirs = normalised(answer).split(), normalised(right).split()
    if not ours or not theirs:
        return float(ours == theirs)
    shared = sum((collections.Counter(ours) & collections.Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs))


def score(answers: Sequence[str], right: Sequence[Sequence[str]]) -> dict[str, float]:
    """f1 and exact_match, each the mean over questions of the best over the right answers.

    Args:
      answers: one per question, "" for none.
      right: the right ones of each question; none, or such as say nothing, is no answer.

    Example:
      >>> score(["Paris", ""], [["paris", "Paris, France"], []])
      {'f1': 1.0, 'exact_match': 1.0}
    """
    mean = each(answers, right).mean(axis=0).tolist()
    return dict(zip(METRICS, mean, strict=True))


def each(answers: Sequence[str], right: Sequence[Sequence[str]]) -> np.ndarray:
    """f1 and exact_match of every question, float64 (n, 2), arguments as of `score`."""
    scores = []
    for answer, golds in zip(answers, right, strict=True):
        golds = [gold for gold in golds if normalised(gold)] or [""]
        scores.append([max(rule(answer, gold) for gold in golds) for rule in (f1, exact)])
    return np.array(scores).reshape(-1, 2)


def most_frequent(right: Sequence[Sequence[str]]) -> str:
    """The answer that is the first of most questions, "" for none, as it is compared.

    Example:
      >>> most_frequent([["The cat"], ["dog"], ["cat", "a dog"]])
      'cat'
    """
    firsts = (normalised((*golds, "")[0]) for golds in right)
    return collections.Counter(firsts).most_common(1)[0][0]
