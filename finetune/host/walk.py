"""A traced program run again, with the arrays of the model in sight.

Equations that touch no array of the model are run as they are; one that turns, reshapes or converts
an array hands the `View` on; jit, scan and remat are entered, and kept. What is left is a use of
the array: a product, a look-up of rows, or anything else.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from finetune.host.views import View, common, reshaped, turned


class Walk:
    """Runs a jaxpr on arrays and views; what a use of a view gives is left to others."""

    def product(self, view: View, other: Any, equation, kernel_first: bool) -> Any:
        """The value of a dot_general; None if it is not a product with a kernel after all."""
        raise NotImplementedError

    def rows(self, view: View, places: jax.Array, equation) -> Any:
        """The value of a look-up of rows of a table; None likewise."""
        raise NotImplementedError

    def value(self, view: View, primitive: str) -> jax.Array:
        """The array that any other primitive shall see."""
        raise NotImplementedError

    def sliced(self, view: View) -> Any:
        """Leaves that a scan slices along with the view; None if it has to see an array."""
        raise NotImplementedError

    def run(self, closed: core.ClosedJaxpr, arguments: Sequence[Any]) -> list[Any]:
        """The outputs: arrays, and views that were only handed on."""
        jaxpr = closed.jaxpr
        values = dict(zip(jaxpr.constvars, closed.consts, strict=True))
        values |= zip(jaxpr.invars, arguments, strict=True)

        def read(atom):
            return atom.val if isinstance(atom, core.Literal) else values[atom]

        last = {v: number for number, e in enumerate(jaxpr.eqns) for v in _variables(e.invars)}
        last |= dict.fromkeys(_variables(jaxpr.outvars), len(jaxpr.eqns))
        waiting = []  # equations without a view, run as one program

        def flush(number):
            if waiting:
                made = [v for e in waiting for v in e.outvars if last.get(v, -1) >= number]
                values.update(zip(made, _plain(jaxpr, waiting, made, values), strict=True))
                waiting.clear()

        for number, equation in enumerate(jaxpr.eqns):
            if not any(isinstance(values.get(v), View) for v in _variables(equation.invars)):
                waiting.append(equation)
                continue
            flush(number)
            outputs = self._used(jaxpr, equation, [read(atom) for atom in equation.invars])
            values.update(zip(equation.outvars, outputs, strict=True))
        flush(len(jaxpr.eqns))
        return [read(atom) for atom in jaxpr.outvars]

    def _used(self, jaxpr, equation, inputs: list[Any]) -> list[Any]:
        rule = getattr(self, f"_{equation.primitive.name}", None)
        outputs = None if rule is None else rule(equation, inputs)
        if outputs is not None:
            return outputs if equation.primitive.multiple_results else [outputs]
        name = equation.primitive.name
        arrays = [self.as_array(value, name) for value in inputs]
        known = {
            atom: array
            for atom, array in zip(equation.invars, arrays, strict=True)
            if not isinstance(atom, core.Literal)
        }
        made = [v for v in equation.outvars if not isinstance(v, core.DropVar)]
        known.update(zip(made, _plain(jaxpr, [equation], made, known), strict=True))
        return [known.get(v) for v in equation.outvars]

    def as_array(self, value: Any, primitive: str) -> Any:
        """What a primitive that knows no views shall see."""
        return self.value(value, primitive) if isinstance(value, View) else value

    # What only hands a view on.

    def _transpose(self, equation, inputs):
        return turned(inputs[0], equation.params["permutation"])

    def _reshape(self, equation, inputs):
        first, size = inputs[0], equation.outvars[0].aval
        if not isinstance(first, View) or size.size != equation.invars[0].aval.size:
            return None
        return reshaped(first, size.shape)

    _squeeze = _broadcast_in_dim = _reshape  # where nothing is repeated

    def _convert_element_type(self, equation, inputs):
        dtype = equation.params["new_dtype"]
        if not jnp.issubdtype(dtype, jnp.floating):
            return None
        return dataclasses.replace(inputs[0], dtype=dtype)

    def _copy(self, equation, inputs):
        return inputs[0]

    def _optimization_barrier(self, equation, inputs):
        return inputs

    # What is entered.

    def _jit(self, equation, inputs):
        return self.run(equation.params["jaxpr"], inputs)

    _pjit = _jit

    def _closed_call(self, equation, inputs):
        return self.run(equation.params["call_jaxpr"], inputs)

    def _checkpoint(self, equation, inputs):
        parameters, returned = equation.params, {}
        closed = core.ClosedJaxpr(parameters["jaxpr"], ())
        views = {k: value for k, value in enumerate(inputs) if isinstance(value, View)}

        @functools.partial(
            jax.checkpoint, prevent_cse=parameters["prevent_cse"], policy=parameters["policy"]
        )
        def body(arrays, stored):
            again = {k: dataclasses.replace(v, **stored[k]) for k, v in views.items()}
            outputs = self.run(closed, [again.get(k, array) for k, array in enumerate(arrays)])
            return self._handed_out(outputs, again, returned)

        # Through the arguments: what is closed over would be kept for the backward pass.
        arrays = [None if k in views else value for k, value in enumerate(inputs)]
        stored = {k: {"value": v.value, "leaves": v.leaves} for k, v in views.items()}
        outputs = body(arrays, stored)
        return [inputs[returned[n]] if n in returned else y for n, y in enumerate(outputs)]

    _remat2 = _remat = _checkpoint

    def _scan(self, equation, inputs):
        parameters, returned = equation.params, {}
        closed, first = parameters["jaxpr"], parameters["num_consts"]
        size = parameters["num_carry"]
        consts, carry, rows = inputs[:first], inputs[first : first + size], inputs[first + size :]
        carry = [self.as_array(value, "scan") for value in carry]
        names = [value.name for value in rows if isinstance(value, View)]
        scope = common(names) if names else ""
        views, stored = {}, {}
        for k, value in enumerate(rows):
            if not isinstance(value, View):
                continue
            leaves = self.sliced(value) if len(value.axes[0]) == 1 else None
            if leaves is None:
                rows[k] = self.as_array(value, "scan")
                continue
            (axis,) = value.axes[0]
            place = value.left.index(axis)
            stored[k] = {"value": jnp.moveaxis(value.value, place, 0), "leaves": leaves}
            left = (*value.left[:place], *value.left[place + 1 :])
            views[k] = dataclasses.replace(
                value,
                left=left,
                axes=value.axes[1:],
                taken=(*value.taken, axis),
                scopes=(*value.scopes, scope),
            )
        arrays = [None if k in views else value for k, value in enumerate(rows)]

        def body(carry, row):
            arrays, stored = row
            again = {k: dataclasses.replace(v, **stored[k]) for k, v in views.items()}
            row = [again.get(k, array) for k, array in enumerate(arrays)]
            outputs = self.run(closed, [*consts, *carry, *row])
            carry = [self.as_array(value, "scan") for value in outputs[:size]]
            return carry, self._handed_out(outputs[size:], again, returned)

        carry, outputs = jax.lax.scan(
            body,
            carry,
            (arrays, stored),
            length=parameters["length"],
            reverse=parameters["reverse"],
            unroll=parameters["unroll"],
        )
        handed = [rows[returned[n]] if n in returned else y for n, y in enumerate(outputs)]
        return [*carry, *handed]

    def _handed_out(self, outputs, views: dict[int, View], returned: dict[int, int]) -> list[Any]:
        """Arrays alone. Views that came in are noted: flax returns a module's state as it came."""
        arrays = []
        for n, output in enumerate(outputs):
            same = [k for k, value in views.items() if output is value]
            if same:
                returned[n], output = same[0], jnp.zeros(())
            arrays.append(self.as_array(output, "return"))
        return arrays

    # What uses an array.

    def _gather(self, equation, inputs):
        table, places = inputs
        if not isinstance(table, View) or isinstance(places, View):
            return None
        numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
        whole_rows = (
            len(table.axes) == 2
            and (*numbers.collapsed_slice_dims, *numbers.start_index_map) == (0, 0)
            and tuple(numbers.offset_dims) == (places.ndim - 1,)
            and tuple(sizes) == (1, equation.invars[0].aval.shape[1])
        )
        return self.rows(table, places, equation) if whole_rows else None

    def _dot_general(self, equation, inputs):
        left, right = inputs
        if isinstance(right, View):
            return self.product(right, self.as_array(left, "dot_general"), equation, False)
        return self.product(left, right, equation, True)


def _variables(atoms) -> list[Any]:
    return [atom for atom in atoms if not isinstance(atom, core.Literal)]


def _plain(jaxpr, equations, outputs, values) -> list[Any]:
    """The outputs of equations that are run as they were traced."""
    made = {v for e in equations for v in e.outvars}
    needed = dict.fromkeys(v for e in equations for v in _variables(e.invars) if v not in made)
    program = jaxpr.replace(
        constvars=(),
        invars=list(needed),
        outvars=list(outputs),
        eqns=list(equations),
        debug_info=jaxpr.debug_info.with_unknown_names(),
    )
    run = core.jaxpr_as_fun(core.ClosedJaxpr(program, ()))
    return run(*(values[v] for v in needed))
