"""Parameters cut over devices, and gathered for as long as a layer computes with them.

A network whose parameters are cut would be free to cut its activations as well, and the compiler
then sends those to and fro. Here every kernel and table is gathered where it is used, in the
backward pass once more instead of being kept, and its gradient is summed straight into the parts:
ZeRO stage 3, or FSDP. No gather starts before the layer's input is there, which costs overlap and
bounds memory; compilers for accelerators keep that order. The one for the host's devices does not,
and there only the parameters at rest take less room.

Source: Rajbhandari et al. (2020), ZeRO; Zhao et al. (2023), PyTorch FSDP.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
from jax.sharding import NamedSharding

from finetune.models.parts.ops import Ops
from finetune.training.devices import Devices
from finetune.training.network import Network


def network(devices: Devices, network: Network) -> Network:
    """The network with its parameters where they belong on the devices.

    A head that is tied to a table multiplies by it outside `Ops`: there the compiler decides what
    is gathered.
    """
    params = devices.parameters(network.params)
    if devices.parts == 1:
        return dataclasses.replace(network, params=params)

    def forward(params, inputs, ops, key):
        return network.forward(params, inputs, gathering(devices, ops), key)

    def begin(params, inputs, ops, length):
        return network.begin(params, inputs, gathering(devices, ops), length)

    def advance(params, cache, tokens, ops):
        return network.advance(params, cache, tokens, gathering(devices, ops))

    def states(params, inputs, ops, key):
        return network.states(params, inputs, gathering(devices, ops), key)

    def vocabulary(params, states, ops):
        return network.vocabulary(params, states, gathering(devices, ops))

    generates = network.begin is not None
    parts = network.states is not None
    return dataclasses.replace(
        network,
        params=params,
        forward=forward,
        begin=begin if generates else None,
        advance=advance if generates else None,
        states=states if parts else None,
        vocabulary=vocabulary if parts else None,
    )


def gathering(devices: Devices, ops: Ops) -> Ops:
    """`ops` on gathered kernels and tables."""

    def whole(leaf):
        return gathered(leaf, devices.everywhere, devices.of_parameter("", leaf.shape))

    def linear(path, x, kernel):
        def product(x, kernel):
            x, kernel = jax.lax.optimization_barrier((x, kernel))
            return ops.linear(path, x, whole(kernel))

        # Recomputed: else every gathered kernel would be kept for the backward pass.
        return jax.checkpoint(product)(x, kernel)

    def embed(path, ids, table):
        return jax.checkpoint(lambda table: ops.embed(path, ids, whole(table)))(table)

    def at(path, leaves):
        return gathering(devices, ops.at(path, leaves))

    return ops._replace(linear=linear, embed=embed, at=at)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def gathered(leaf: jax.Array, whole: NamedSharding, own: NamedSharding) -> jax.Array:
    """`leaf` on every device, and its cotangent cut as `leaf` is."""
    del own
    return jax.lax.with_sharding_constraint(leaf, whole)


gathered.defvjp(
    lambda leaf, whole, own: (gathered(leaf, whole, own), None),
    lambda whole, own, _, cotangent: (jax.lax.with_sharding_constraint(cotangent, own),),
)
