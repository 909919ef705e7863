"""The Hessian of a distance between hidden states, about the ones that there are."""

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from optax_ltd._numerics.checks import refusal
from optax_ltd._numerics.dtypes import widened
from optax_ltd._numerics.shards import Axes

HiddenDistance: TypeAlias = Literal["squared", "cross_entropy"]


def hidden_curvature(
    hidden: list[jax.Array], distance: HiddenDistance, axes: Axes = ()
) -> Callable[[list[jax.Array]], list[jax.Array]]:
    r"""The Hessian of a distance D(h, h') by h', at h' = h (Martens & Sutskever 2011).

    D is the mean over examples, and the sum over all else, of

    - ½ (h - h')² for ``"squared"``, whose Hessian is 1;
    - -h log h' - (1 - h) log(1 - h') for ``"cross_entropy"``, whose Hessian is
      1 / (h (1 - h)).

    Args:
      hidden: hidden states, each with the examples along its first axis.
      distance: which of the two.
      axes: those along which the examples are divided.

    Returns:
      The product of the Hessian with tangents of the hidden states.
    """
    weights = [_weights(h, distance, axes) for h in hidden]

    def product(tangents: list[jax.Array]) -> list[jax.Array]:
        pairs = zip(weights, tangents, strict=True)
        return [(weight * widened(t)).astype(t.dtype) for weight, t in pairs]

    return product


def _weights(h: jax.Array, distance: HiddenDistance, axes: Axes) -> jax.Array:
    if h.ndim == 0:
        raise refusal("hidden", "arrays with the examples along their first axis", h)
    examples = max(h.shape[0], 1) * math.prod(map(lax.axis_size, axes))
    share = jnp.full((), 1 / examples, widened(h).dtype)
    if distance == "squared":
        return share
    variance = widened(h) * (1 - widened(h))
    # Where a unit is saturated its own slope, h (1 - h), is zero, and so is the limit
    # of slope² / (h (1 - h)). Outside of (0, 1) there is no cross-entropy.
    inside = variance > 0
    return jnp.where(inside, share / jnp.where(inside, variance, 1), 0)
