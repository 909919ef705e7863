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


class Chosen(NamedTuple):
    """One of the kept iterates.

    Attributes:
      slot: its index.
      loss: after it; Inf for any that is not finite.
      evaluations: how often the loss was asked.
    """

    slot: jax.Array
    loss: jax.Array
    evaluations: jax.Array


class _Trial(NamedTuple):
    """A length along a step, the loss after it, and how often it was asked."""

    factor: jax.Array
    loss: jax.Array
    evaluations: jax.Array


def walk_back(
    loss_after: Callable[[Vector], jax.Array],
    kept: Vector,
    last: jax.Array,
    *,
    idle: jax.Array,
) -> Chosen:
    """Goes back over the kept iterates while the loss does not rise.

    What the model gains late may be lost on the loss itself (Martens 2010, section
    4.6).

    Args:
      loss_after: the loss after a step.
      kept: iterates along the first axis of each leaf.
      last: the index of the last one.
      idle: whether to do nothing.

    Returns:
      The iterate before which the loss is higher; others farther back are not tried.
    """

    def back(state: tuple[Chosen, jax.Array]) -> tuple[Chosen, jax.Array]:
        chosen, _ = state
        slot = chosen.slot - 1
        loss = infinite_unless_finite(loss_after([many[slot] for many in kept]))
        better = loss <= chosen.loss
        slot = jnp.where(better, slot, chosen.slot)
        loss = jnp.where(better, loss, chosen.loss)
        return Chosen(slot, loss, chosen.evaluations + 1), better

    dtype = jax.eval_shape(loss_after, [many[0] for many in kept]).dtype
    # Behind the last one, which any loss is as good as.
    start = Chosen(last + 1, jnp.full((), jnp.inf, dtype), jnp.zeros((), jnp.int32))
    chosen, _ = lax.while_loop(
        lambda state: state[1] & (state[0].slot > 0),
        back,
        jax.tree.map(functools.partial(varying_as, kept), (start, ~idle)),
    )
    return chosen._replace(slot=jnp.minimum(chosen.slot, last))


def line_search(
    loss_after: Callable[[Vector], jax.Array],
    step: Vector,
    loss_before: jax.Array,
    whole: jax.Array,
    slope: jax.Array,
    *,
    idle: jax.Array,
) -> tuple[jax.Array, jax.Array]:
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
      The factor a, or 0 where no trial lowers the loss by enough, and how often the
      loss was asked.
    """

    def enough(trial: _Trial) -> jax.Array:
        wanted = loss_before + _SUFFICIENT * trial.factor * slope
        return (trial.loss < loss_before) & (trial.loss <= wanted)

    def shorten(trial: _Trial) -> _Trial:
        factor = _SHRINK * trial.factor
        loss = infinite_unless_finite(loss_after(times(factor, step)))
        return _Trial(factor, loss, trial.evaluations + 1)

    start = _Trial(jnp.ones_like(slope), whole, jnp.zeros((), jnp.int32))
    trial = lax.while_loop(
        lambda trial: ~idle & ~enough(trial) & (trial.evaluations < _MOST_TRIALS),
        shorten,
        jax.tree.map(functools.partial(varying_as, step), start),
    )
    factor = jnp.where(enough(trial) & ~idle, trial.factor, 0)
    return factor, trial.evaluations


def infinite_unless_finite(loss: jax.Array) -> jax.Array:
    """A loss that compares as worse than all others if it is NaN or -Inf."""
    return jnp.where(jnp.isfinite(loss), loss, jnp.inf)
