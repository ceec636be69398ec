"""A run that is looked at on its way: the loop that the studies have in common."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, TypeVar

State = TypeVar("State")
Batch = TypeVar("Batch")


def snapshots(
    step: Callable[[State, Batch], tuple[State, Any]],
    state: State,
    batches: Iterable[Batch],
    stops: Collection[int],
) -> Iterator[tuple[State, list[Any]]]:
    """state, loss = step(state, batch) for every batch, interrupted after some of them.

    Args:
      batches: one for each step.
      stops: the numbers of steps, from 1, after which the run is looked at.

    Yields:
      The state at a stop, and the losses of the steps since the stop before.

    Example:
      >>> run = snapshots(lambda state, batch: (state + batch, batch), 0, [1, 2, 3], stops=(2, 3))
      >>> list(run)
      [(3, [1, 2]), (6, [3])]
    """
    losses = []
    for number, batch in enumerate(batches, start=1):
        state, loss = step(state, batch)
        losses.append(loss)
        if number in stops:
            yield state, losses
            losses = []
