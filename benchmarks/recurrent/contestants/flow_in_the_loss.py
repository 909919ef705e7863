"""Ω as one writes it into the loss without a backward pass of one's own.

Two ways: with the error signals held constant and a vmapped vjp, or differentiated
with everything else, second derivatives through all of back-propagation.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import optax_ltd as ltd

# (params, x, start, added) -> (loss, the carry before each step); `added` to the carry
# after each step has the error signals as its gradient.
Unrolled = Callable[[Any, jax.Array, Any, Any], tuple[jax.Array, Any]]
CellFn = Callable[[Any, Any, jax.Array], tuple[Any, Any]]
# (cell_fn, unrolled, params, x, start, zeros) -> (loss, Ω)
Omega = Callable[..., tuple[jax.Array, jax.Array]]


def loss_with(
    omega: Omega, cell: Any, last_step_loss: Callable[[jax.Array], jax.Array]
) -> tuple[Callable[[Any, jax.Array], jax.Array], Any]:
    """Writes L + Ω of a recurrent net whose loss reads the last time step.

    Args:
      omega: one of the functions below.
      cell: an nnx cell whose carry ends with its output.
      last_step_loss: of ``[batch, hidden]``.

    Returns:
      A function of the parameters and of x ``[batch, time, inputs]``; the parameters.
    """
    graphdef, params = nnx.split(cell)

    def cell_fn(params: Any, carry: Any, x: jax.Array) -> tuple[Any, Any]:
        return nnx.merge(graphdef, params)(carry, x)

    def unrolled(params: Any, x: jax.Array, start: Any, added: Any) -> Any:
        def body(carry: Any, at: Any) -> tuple[Any, Any]:
            x, added = at
            new, _ = cell_fn(params, carry, x)
            return jax.tree.map(jnp.add, new, added), carry

        final, carries = jax.lax.scan(body, start, (x, added))
        return last_step_loss(jax.tree.leaves(final)[-1]), carries

    def loss(params: Any, x: jax.Array) -> jax.Array:
        start = cell.initialize_carry(x[:, 0].shape, nnx.Rngs(0))
        x = jnp.moveaxis(x, 1, 0)
        zeros = jax.tree.map(lambda c: jnp.zeros((len(x), *c.shape), c.dtype), start)
        value, penalty = omega(cell_fn, unrolled, params, x, start, zeros)
        return value + penalty

    return loss, params


def error_signals_held(
    cell_fn: CellFn,
    unrolled: Unrolled,
    params: Any,
    x: jax.Array,
    start: Any,
    zeros: Any,
) -> tuple[jax.Array, jax.Array]:
    """δ by a gradient of its own, held constant; gains by a vmapped vjp."""
    value, carries = unrolled(params, x, start, zeros)
    held = jax.lax.stop_gradient((params, carries))
    error = jax.grad(lambda added: unrolled(held[0], x, start, added)[0])(zeros)
    gains = ltd.flow_gains(cell_fn, params, held[1], x, error)
    return value, ltd.flow_penalty(gains)


def through_back_propagation(
    cell_fn: CellFn,
    unrolled: Unrolled,
    params: Any,
    x: jax.Array,
    start: Any,
    zeros: Any,
) -> tuple[jax.Array, jax.Array]:
    """Gains from δ itself, which stays a function of the parameters.

    The loss reads the last step only, so that δ_t J_t is δ_{t-1}.
    """
    value_and_error = jax.value_and_grad(unrolled, argnums=(2, 3), has_aux=True)
    (value, _), (before, error) = value_and_error(params, x, start, zeros)
    passed_on = jax.tree.map(
        lambda first, rest: jnp.concatenate([first[None], rest[:-1]]), before, error
    )
    above, below = _squared_norms(passed_on), _squared_norms(error)
    # Over hundreds of steps both can vanish, and the root has no slope at zero.
    active = (above > 0) & (below > 0)
    ratio = jnp.where(active, above, 1) / jnp.where(active, below, 1)
    return value, ltd.flow_penalty(jnp.sqrt(ratio))


def _squared_norms(signals: Any) -> jax.Array:
    """``[time, batch]``, all leaves of the carry together."""
    return jnp.sum(jnp.concatenate(jax.tree.leaves(signals), axis=-1) ** 2, axis=-1)
