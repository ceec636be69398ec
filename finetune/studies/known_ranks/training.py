"""A method on a made problem: its held-out loss over training, and the ranks that it ends with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from finetune.adapters.by_component import along, by_component
from finetune.adapters.method import Method
from finetune.adapters.tables import column, each, rows
from finetune.methods import MethodConfig, make
from finetune.optimiser import OptimiserConfig, direction, rate
from finetune.ranks.given import live
from finetune.studies.known_ranks.teacher import Teacher, TeacherSetting, answer, texts
from finetune.training.adapted_ops import adapted
from finetune.training.network import Network
from finetune.training.state import start
from finetune.training.step import StepConfig, train_step

LOOKS = 20
"""Held-out losses of a run, at equal distances."""


class Run(NamedTuple):
    """What a run leaves.

    Attributes:
      losses: (LOOKS,) held-out squared error over that of the base, without noise.
      ranks: (modules,) of the method at the end, in the order of paths.
      true: (modules,) the teacher's.
    """

    losses: jax.Array
    ranks: jax.Array
    true: jax.Array


def program(
    setting: TeacherSetting,
    net: Network,
    config: MethodConfig,
    steps: int,
    given: bool = False,
    own_rates: bool = False,
) -> Callable[[Teacher, jax.Array, jax.Array], Run]:
    """(problem, key, learning rate) -> Run, to be compiled; the key draws start, texts and noise.

    Args:
      given: the method is given the ranks, see `informed`.
      own_rates: every component has a schedule of its own, see `with_own_rates`.
    """
    chunk = steps // LOOKS

    def squares(logits, labels, weight):
        del weight
        return jnp.mean(jnp.square(logits - labels))

    def run(problem: Teacher, key: jax.Array, learning_rate: jax.Array) -> Run:
        _, of_start, of_steps, of_test = jax.random.split(key, 4)
        optimiser = OptimiserConfig(learning_rate=learning_rate)
        method = make(config, optimiser, steps)
        if given:
            method = informed(method, problem.ranks)
        if own_rates:
            method = with_own_rates(method, optimiser, steps)
        kernels = net.kernels(net.adapted(), problem.params)
        own = dataclasses.replace(net, params=problem.params)
        step = train_step(own, method, squares, optax.identity(), StepConfig(dropout=False))
        state = start(method, kernels, {}, optax.identity(), of_start)
        noise = setting.noise * jnp.sqrt(problem.size)

        def batch(key):
            ids = texts(setting, key, setting.batch_size)
            y = answer(net, problem.changed, ids)
            y = y + noise * jax.random.normal(jax.random.fold_in(key, 1), y.shape)
            weight = jnp.ones(setting.batch_size)
            return {**_inputs(ids), "labels": y, "weight": weight}

        test = texts(setting, of_test, setting.held_out)
        wanted = answer(net, problem.changed, test)

        def held_out(state):
            ops = adapted(method, state.theta, state.aux)
            return jnp.mean(jnp.square(answer(net, problem.params, test, ops) - wanted))

        def onward(state, numbers):
            def one(state, number):
                key = jax.random.fold_in(of_steps, number)
                return step(state, problem.params, batch(key))[0], None

            state, _ = jax.lax.scan(one, state, numbers)
            return state, held_out(state)

        numbers = jnp.arange(chunk * LOOKS).reshape(LOOKS, chunk)
        state, losses = jax.lax.scan(onward, state, numbers)
        ranks = rows(method.ranks(state.theta, state.aux)).astype(jnp.int32)
        return Run(losses / problem.size, ranks, problem.ranks)

    return run


def _inputs(ids):
    return {"input_ids": ids, "attention_mask": jnp.ones_like(ids)}


def informed(method: Method, ranks: jax.Array) -> Method:
    """The method with the components that the ranks say and no others, from the first step.

    Args:
      method: lora, or adapad with a budget that is spent at once.
      ranks: (modules,) in the order of paths.
    """

    def prepare(key, kernels, gradients):
        theta, aux = method.prepare(key, kernels, gradients)
        changed = {}
        for path, rank in zip(sorted(aux), ranks, strict=True):
            changed[path] = live(aux[path], rank)
            if "private" in aux[path]:
                changed[path]["private"] = jnp.zeros((), jnp.int32)
        return theta, changed

    return dataclasses.replace(method, prepare=prepare)


def with_own_rates(method: Method, config: OptimiserConfig, total: int) -> Method:
    """The method with a schedule for every component: from the first step that it is trained in to
    the last of the run, so that one that comes late begins at the largest rate too.

    Args:
      method: parallel or adapad, whose steps say which components are `active`.
    """

    def init(theta):
        return {path: jnp.zeros(leaves["b"].shape[0], jnp.int32) for path, leaves in theta.items()}

    def update(updates, ages, params=None, *, step, active, **_):
        del params

        def of_module(leaves, age, on):
            size = -rate(config, age, age + total - step)
            moved = {name: along(size, name).astype(u.dtype) * u for name, u in leaves.items()}
            return {"update": moved, "age": age + on}

        both = each(of_module, updates, ages, active)
        return column(both, "update"), column(both, "age")

    by_age = optax.GradientTransformationExtraArgs(init, update)
    return dataclasses.replace(method, tx=optax.chain(by_component(direction(config)), by_age))
