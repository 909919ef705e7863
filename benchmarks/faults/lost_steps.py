"""Counts the steps that training loses."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

import optax_ltd as ltd

_SAME_WAY = 0.5  # the least cosine between a gradient and what is made of it


class LostSteps(NamedTuple):
    """State of `count_lost_steps`. The counts end where `broken_at` is set.

    Attributes:
      inner: state of the transformation that is watched.
      total: updates so far, int32 scalar.
      zero: those that were 0 in every entry though the gradient was not.
      replaced: those that were neither 0 nor in the gradient's direction.
      broken_at: number of the first that had an Inf or a NaN and so ended the run,
        for no parameter recovers from one; -1 if there was none.
    """

    inner: Any
    total: jax.Array
    zero: jax.Array
    replaced: jax.Array
    broken_at: jax.Array


def count_lost_steps(
    inner: optax.GradientTransformation,
) -> optax.GradientTransformation:
    """Compares what a transformation makes of a gradient with the gradient.

    An update is in the gradient's direction if the cosine between the two is at least
    a half: a clip leaves it at 1, a random step near 0. Faults belong inside `inner`,
    where what comes out is compared with the gradient as it should have been.

    Args:
      inner: what to watch.

    Returns:
      A `optax.GradientTransformation` with a `LostSteps`, and the updates of `inner`.
    """

    def init(params: Any) -> LostSteps:
        zero, replaced, total = (jnp.zeros((), jnp.int32) for _ in range(3))
        broken_at = jnp.full((), -1, jnp.int32)
        return LostSteps(inner.init(params), total, zero, replaced, broken_at)

    def update(
        updates: Any, state: LostSteps, params: Any = None
    ) -> tuple[Any, LostSteps]:
        new_updates, inner_state = inner.update(updates, state.inner, params)
        gradient, made = ravel_pytree(updates)[0], ravel_pytree(new_updates)[0]
        running = state.broken_at < 0
        broken = ~jnp.all(jnp.isfinite(made))
        zero = jnp.all(made == 0)
        # Not `< _SAME_WAY`: beside a gradient with a NaN the cosine is a NaN.
        kept = jnp.vdot(_unit(gradient), _unit(made)) >= _SAME_WAY
        return new_updates, LostSteps(
            inner=inner_state,
            total=state.total + 1,
            zero=state.zero + (running & zero & jnp.any(gradient != 0)),
            replaced=state.replaced + (running & ~broken & ~zero & ~kept),
            broken_at=jnp.where(running & broken, state.total, state.broken_at),
        )

    return optax.GradientTransformation(cast(Any, init), cast(Any, update))


def _unit(vector: jax.Array) -> jax.Array:
    return vector / ltd.global_norm(vector)
