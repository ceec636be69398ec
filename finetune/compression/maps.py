"""The maps of low rank in place of a network's own: all at once, or one after the other.

Source: Wang et al. (2024), SVD-LLM, compress once and in sequence; Yuan et al. (2025), AA-SVD, with
the outputs of the network as it was in view.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import jax.numpy as jnp
import numpy as np

from finetune.adapters.method import Factors
from finetune.compression import directions, moments
from finetune.compression.directions import Directions
from finetune.compression.moments import Forward, Moments, Params
from finetune.compression.plans import Ranks

ORDERS = ("once", "sequential", "anchored")
FEW = 8
"""Tokens per input of a map below which its moments need shrinkage by FEW_SHRINK."""
PROGRAMS = 4
"""Programs that are compiled for maps in turn: the first ends behind a quarter of the maps. One for
each step is minutes of compilation, and one for all runs the whole network in every step."""
FEW_SHRINK, MANY_SHRINK, ANCHORED_SHRINK = 0.1, 0.01, 0.03


def shrinkage(tokens: int, width: int) -> float:
    """What to add to the moments of a map of so many inputs, in units of tr(S) / in.

    A tenth never costs more than 2% of the held-out error and saves up to a quarter of it where
    tokens are few (SmolLM2-135M, 256 to 8192 tokens); where they are not it costs the network.

    Example:
      >>> shrinkage(256, 64), shrinkage(8192, 64)
      (0.1, 0.01)
    """
    return FEW_SHRINK if tokens < FEW * width else MANY_SHRINK


def metric(
    path: str, moments: Moments, *, power: float = 1.0, shrink: float | None = 0.0
) -> np.ndarray:
    """`directions.metric` of a map's inputs; a shrink of None is that of `shrinkage`.

    Raises:
      ValueError: as there, with the module.
    """
    gram = moments.grams[path]
    if shrink is None:
        shrink = shrinkage(moments.tokens, len(gram))
    try:
        return directions.metric(gram, power=power, shrink=shrink)
    except ValueError as error:
        raise ValueError(f"inputs of {path}: {error}") from None


def once(
    params: Params, moments: Moments, *, power: float = 1.0, shrink: float | None = 0.0
) -> Iterator[tuple[str, Directions]]:
    """Path and directions of every map, from the moments of the network as it is.

    Args:
      params: by torch name.
      moments: of `moments.collect`.
      power, shrink: as of `metric`.

    Raises:
      ValueError: as `metric`.
    """
    group, shared = None, None
    for path, gram in moments.grams.items():
        if gram is not group:  # maps that read one input come one after the other
            group, shared = gram, metric(path, moments, power=power, shrink=shrink)
        yield path, directions.leading(np.asarray(params[f"{path}.weight"]), shared)


def in_turn(
    forward: Forward,
    params: Params,
    batches: Iterable[Mapping],
    ranks: Ranks,
    *,
    anchored: bool = False,
    power: float = 1.0,
    shrink: float | None = 0.0,
) -> Iterator[tuple[str, Factors]]:
    """Path and factors of every map of the plan, each from inputs that the ones before it change.

    Maps that read one input make a step, and every step runs the network over all batches, twice
    with `anchored`.

    Args:
      forward, params, batches: as of `moments.collect`; batches are gone through several times.
      ranks: of a plan; maps of None stay as they are.
      anchored: keep the outputs of the network as it was; else of the map on its inputs now.
      power, shrink: as of `metric`; where anchored the power is 1 and the shrink a number.
    """
    batches, now = list(batches), dict(params)
    changed = [path for path, rank in ranks.items() if rank is not None]
    together = moments.groups(forward, params, batches[0], changed) if batches else []
    anchor = params if anchored else None
    size = -(-len(together) // PROGRAMS) or 1
    for number in range(len(together)):
        part = together[: (number // size + 1) * size]
        inputs = moments.collect_group(forward, now, batches, part, number, anchor)
        if anchored:
            answers = _anchored(params, inputs, shrink)
        else:
            answers = once(params, inputs, power=power, shrink=shrink)
        for path, one in answers:
            factors = one.factors(ranks[path])
            now[f"{path}.weight"] = product(factors)
            yield path, factors


def product(factors: Factors):
    """a b as the float32 kernel of a network."""
    return jnp.asarray(factors.a @ factors.b, jnp.float32)


def replaced(params: Params, maps: Mapping[str, Factors]) -> Params:
    """The parameters with these maps in place of their own."""
    return {**params, **{f"{path}.weight": product(f) for path, f in maps.items()}}


def relative_error(kernel: np.ndarray, factors: Factors, gram: np.ndarray) -> float:
    """||X (W - a b)||^2 / ||X W||^2 on inputs with this Gram matrix; 0 where X W is 0."""
    return directions.relative(kernel - factors.a @ factors.b, kernel, gram)


def _anchored(params: Params, now: Moments, shrink: float):
    for path, gram in now.grams.items():
        kernel = np.asarray(params[f"{path}.weight"])
        yield path, directions.anchored(kernel, gram, now.cross[path], shrink=shrink)
