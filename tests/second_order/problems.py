"""Small models with losses, and their matrices formed entry by entry."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree


class Problem(NamedTuple):
    """A model, a loss that is convex in its outputs, and a point."""

    predict: Callable[[Any], Any]  # outputs and hidden states
    loss: Callable[[Any], jax.Array]
    params: Any


def recurrent(loss: str, units: str = "tanh", steps: int = 4) -> Problem:
    """A net of three units over a few steps, with outputs [B, T, 2]."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((5, steps, 2)))
    target = jnp.asarray(rng.standard_normal((5, steps, 2)))
    params = {
        "recurrent": jnp.asarray(rng.standard_normal((3, 3))),
        "input": jnp.asarray(rng.standard_normal((2, 3))),
        "output": jnp.asarray(rng.standard_normal((3, 2))),
    }
    unit = {"tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}[units]

    def predict(params: Any) -> Any:
        def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            h = unit(h @ params["recurrent"] + x @ params["input"])
            return h, h

        _, hidden = jax.lax.scan(step, jnp.zeros((5, 3)), jnp.swapaxes(x, 0, 1))
        hidden = jnp.swapaxes(hidden, 0, 1)
        return hidden @ params["output"], hidden

    losses = {
        "squared": lambda z: jnp.mean(jnp.sum((z - target) ** 2, -1)),
        "softmax": lambda z: (
            -jnp.mean(jax.nn.log_softmax(z)[..., 0] * target[..., 0] ** 2)
        ),
        "quartic": lambda z: jnp.mean(jnp.sum((z - target) ** 4, (1, 2)) ** 1.5),
    }
    return Problem(predict, losses[loss], params)


def dense_gauss_newton(problem: Problem) -> np.ndarray:
    """Jᵀ H J from the matrices J and H, for the outputs alone."""
    flat, tree_of = ravel_pytree(problem.params)
    outputs = lambda v: problem.predict(tree_of(v))[0]
    z = outputs(flat)
    jacobian = jax.jacfwd(lambda v: outputs(v).reshape(-1))(flat)
    hessian = jax.hessian(lambda z_: problem.loss(z_.reshape(z.shape)))(z.reshape(-1))
    return np.asarray(jacobian.T @ hessian @ jacobian)


def dense_structural(
    problem: Problem, distance: Callable[..., jax.Array]
) -> np.ndarray:
    """The Hessian by v' of the distance of hidden states at v and v', at v' = v.

    Of the linearised hidden states, that is, so that it is a Gauss-Newton matrix.
    """
    flat, tree_of = ravel_pytree(problem.params)
    hidden = lambda v: problem.predict(tree_of(v))[1]
    h = hidden(flat)
    jacobian = jax.jacfwd(lambda v: hidden(v).reshape(-1))(flat)
    away = lambda d: distance(h, h + (jacobian @ d).reshape(h.shape))
    return np.asarray(jax.hessian(away)(jnp.zeros_like(flat)))


def squared_distance(h: jax.Array, other: jax.Array) -> jax.Array:
    """½ (h - h')², mean over examples, sum over all else."""
    return jnp.mean(jnp.sum((h - other) ** 2, axis=(1, 2))) / 2


def cross_entropy_distance(h: jax.Array, other: jax.Array) -> jax.Array:
    """The cross-entropy of one with the other, summed up in the same way."""
    entropies = -h * jnp.log(other) - (1 - h) * jnp.log(1 - other)
    return jnp.mean(jnp.sum(entropies, axis=(1, 2)))


def flat(tree: Any) -> np.ndarray:
    """All entries of a tree as one vector, in the order of `ravel_pytree`."""
    return np.asarray(ravel_pytree(tree)[0])
