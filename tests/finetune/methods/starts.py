"""What the tests of methods that start from a gradient share: kernels, a gradient, first steps."""

import jax
import jax.numpy as jnp
import numpy as np

from finetune.methods import MethodConfig, make
from finetune.optimiser import OptimiserConfig

SGD = OptimiserConfig(name="sgd", learning_rate=0.1, schedule="constant", warmup=0, clip=0)


def built(name, options=SGD, **given):
    """The method, for ten steps of plain descent."""
    return make(MethodConfig(name, **given), options, 10)


def problem(seed=0, size=(9, 7), dtype=np.float64):
    """A kernel and a gradient with simple singular values, as {path: array}."""
    generator = np.random.default_rng(seed)
    kernel, gradient = generator.normal(size=(2, *size)).astype(dtype)
    return {"fc": jnp.asarray(kernel)}, {"fc": jnp.asarray(gradient)}


def truncated(matrix, rank):
    """[matrix]_rank."""
    u, s, vt = np.linalg.svd(np.asarray(matrix, np.float64), full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ vt[:rank]


def change(method, theta, aux, kernel):
    """W_eff - W through the method's own forward pass, which is linear in x."""
    eye = jnp.eye(kernel.shape[0], dtype=kernel.dtype)
    out = method.apply(eye, kernel, theta["fc"], aux["fc"], lambda x: x)
    return np.asarray(out - eye @ kernel)


def first_displacement(method, kernels, gradients):
    """d W_eff / d eta at eta = 0 of one step of plain descent on all of theta: exact, by jvp."""
    theta, aux = method.prepare(jax.random.key(0), kernels, gradients)
    kernel, gradient = kernels["fc"], gradients["fc"]
    eye = jnp.eye(kernel.shape[0], dtype=kernel.dtype)

    def effective(theta):
        return method.apply(eye, kernel, theta["fc"], aux["fc"], lambda x: x)

    _, pull = jax.vjp(effective, theta)
    (slope,) = pull(gradient)  # what any loss with this dL/dW_eff hands to theta
    _, moved = jax.jvp(effective, (theta,), (jax.tree.map(jnp.negative, slope),))
    return np.asarray(moved), theta, aux
