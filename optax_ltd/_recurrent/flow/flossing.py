"""Gradient flossing: a penalty on Lyapunov exponents other than 0."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from optax_ltd._recurrent.flow.tangent_growth import mean_growth


def flossing_penalty(
    cell_fn: Callable[..., Any],
    params: Any,
    carry: Any,
    inputs: Any,
    num_exponents: int | None,
    *,
    length: int | None = None,
    warmup: int = 0,
    qr_every: int = 1,
) -> jax.Array:
    r"""The mean square of the largest Lyapunov exponents of a recurrent cell.

    An error signal neither vanishes nor explodes along directions whose exponents are
    0. Where the penalty Ω of :func:`unroll` asks this of one loss's error signal at
    each step, gradient flossing asks it of the dynamics, along k directions at once and
    over all steps together, whatever the loss:

    .. math:: \frac{1}{B k} \sum_{b=1}^{B} \sum_{i=1}^{k} \lambda_{b,i}^2

    with the exponents of :func:`lyapunov_exponents`, per step in natural logarithms.
    They are squared example by example, so that the penalty of a batch is the mean of
    the penalties of its parts.

    ``jax.grad`` goes through the trajectory and through every QR decomposition, also
    where exponents cross or coincide. A direction may be lost in a step: that of a unit
    that is dead or saturated, or one of more directions than J_t has rank. It then
    counts there as one that shrinks to n ε of its length, with n the size of the state
    and ε that of the dtype: the penalty stays finite, and gets no gradient from that
    step along it. It is NaN if the trajectory or its derivatives are not finite.

    In a network with an exponent above 0 the gradient through the trajectory grows as
    the trajectories part, exponentially with T. Floss over fewer steps there.

    Args:
      cell_fn: ``(params, carry, x) -> (carry, y)``, as in :func:`unroll`. It treats
        each example of a batch alone.
      params: tree of arrays, those to differentiate by.
      carry: the initial carry, a tree of ``[B, ...]``.
      inputs: tree of ``[T, B, ...]``, or None for a cell that runs by itself.
      num_exponents: k, how many exponents, the largest ones, from 1 to the size of the
        state; None for all. A few keep that many directions open; more make the
        gradient of the loss better conditioned.
      length: T, needed only where ``inputs`` has no leaf.
      warmup: steps at the start whose growth is not counted, from 0 to T - 1.
      qr_every: steps between two QR decompositions.

    Returns:
      A scalar, float32 or wider.

    Raises:
      ValueError: as :func:`lyapunov_exponents` does.

    Examples:
      A state that halves in each step has exponents of log 1/2; their square, .4805,
      falls the closer the factor comes to 1.

      >>> import jax
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> decay = lambda a, h, x: (a * h, None)
      >>> start, inputs = jnp.zeros((1, 4)), jnp.zeros((10, 1))
      >>> penalty = lambda a: ltd.flossing_penalty(decay, a, start, inputs, 2)
      >>> [round(float(x), 4) for x in jax.value_and_grad(penalty)(0.5)]
      [0.4805, -2.7726]

      A Flax cell is split into its structure and its parameters; flossed, it is merged
      again.

      >>> from flax import nnx
      >>> cell = nnx.SimpleCell(3, 8, rngs=nnx.Rngs(0))
      >>> graphdef, params = nnx.split(cell)
      >>> cell_fn = lambda params, h, x: nnx.merge(graphdef, params)(h, x)
      >>> start, inputs = jnp.zeros((1, 8)), jnp.ones((20, 1, 3))
      >>> @jax.jit
      ... def floss(params):
      ...     floss = jax.value_and_grad(ltd.flossing_penalty, 1)
      ...     penalty, grads = floss(cell_fn, params, start, inputs, 4, warmup=5)
      ...     return penalty, jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
      >>> before, params = floss(params)
      >>> bool(floss(params)[0] < before)
      True
      >>> nnx.update(cell, params)

    References:
      Engelken, `Gradient flossing: improving gradient descent through dynamic control
      of Jacobians <https://arxiv.org/abs/2312.17306>`_, 2023.
    """
    exponents = mean_growth(
        cell_fn,
        params,
        carry,
        inputs,
        length,
        num_exponents=num_exponents,
        warmup=warmup,
        qr_every=qr_every,
        floored=True,
    )
    return jnp.sum(exponents**2) / max(1, exponents.size)
