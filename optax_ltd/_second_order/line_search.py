"""How far to go: back over the kept iterates, then down along the one chosen."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from optax_ltd._numerics.shards import varying_as
from optax_ltd._second_order.parameter_space import Vector, times

_SHRINK = 0.8
_SUFFICIENT = 1e-2
_MOST_TRIALS = 60  # What is left is then a millionth of the step.


class Found(NamedTuple):
    """A step, or a length along it.

    Attributes:
      choice: the index of the iterate, or the factor of the step.
      loss: after it; Inf for NaN.
      evaluations: how often the loss was asked.
    """

    choice: jax.Array
    loss: jax.Array
    evaluations: jax.Array


def walk_back(
    loss_after: Callable[[Vector], jax.Array],
    kept: Vector,
    last: jax.Array,
    *,
    idle: jax.Array,
) -> Found:
    """Goes back over the kept iterates while the loss does not rise.

    What the model gains late may be lost on the loss itself (Martens 2010, section
    4.6).

    Args:
      loss_after: the loss after a step.
      kept: iterates along the first axis of each leaf.
      last: the index of the last one.
      idle: whether to do nothing.

    Returns:
      The index of the iterate that no other is tried after.
    """

    def back(state: tuple[Found, jax.Array]) -> tuple[Found, jax.Array]:
        found, _ = state
        index = found.choice - 1
        loss = infinite_if_nan(loss_after([many[index] for many in kept]))
        better = loss <= found.loss
        choice = jnp.where(better, index, found.choice)
        value = jnp.where(better, loss, found.loss)
        return Found(choice, value, found.evaluations + 1), better

    dtype = jax.eval_shape(loss_after, [many[0] for many in kept]).dtype
    # Behind the last one, which any loss is as good as.
    start = Found(last + 1, jnp.full((), jnp.inf, dtype), jnp.zeros((), jnp.int32))
    found, _ = lax.while_loop(
        lambda state: state[1] & (state[0].choice > 0),
        back,
        jax.tree.map(functools.partial(varying_as, kept), (start, ~idle)),
    )
    return found._replace(choice=jnp.minimum(found.choice, last))


def line_search(
    loss_after: Callable[[Vector], jax.Array],
    step: Vector,
    loss_before: jax.Array,
    whole: jax.Array,
    slope: jax.Array,
    *,
    idle: jax.Array,
) -> Found:
    """Shortens a step until it lowers the loss by enough.

    That is, f(θ + a x) <= f(θ) + 0.01 a ∇fᵀx, and below f(θ), for a = 1, 0.8, 0.8², …
    (Martens & Sutskever 2012, section 20.8.8).

    Args:
      loss_after: the loss after a step.
      step: x.
      loss_before: f(θ).
      whole: f(θ + x).
      slope: ∇fᵀx.
      idle: whether to do nothing.

    Returns:
      The factor a, or 0 and f(θ) where no trial lowers the loss by enough.
    """

    def enough(found: Found) -> jax.Array:
        wanted = _SUFFICIENT * found.choice * jnp.minimum(slope, 0)
        lower = found.loss < loss_before
        return lower & (found.loss <= loss_before + wanted)

    def shorten(found: Found) -> Found:
        factor = _SHRINK * found.choice
        loss = infinite_if_nan(loss_after(times(factor, step)))
        return Found(factor, loss, found.evaluations + 1)

    start = Found(jnp.ones_like(slope), whole, jnp.zeros((), jnp.int32))
    found = lax.while_loop(
        lambda found: ~idle & ~enough(found) & (found.evaluations < _MOST_TRIALS),
        shorten,
        jax.tree.map(functools.partial(varying_as, step), start),
    )
    won = enough(found) & ~idle
    return Found(
        jnp.where(won, found.choice, 0),
        jnp.where(won, found.loss, loss_before),
        found.evaluations,
    )


def infinite_if_nan(loss: jax.Array) -> jax.Array:
    """A loss that compares as worse than all others if it is NaN."""
    return jnp.where(jnp.isnan(loss), jnp.inf, loss)
