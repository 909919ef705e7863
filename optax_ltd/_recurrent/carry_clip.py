"""Clipping of the error signal inside back-propagation through time."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from optax_ltd._numerics.checks import is_number, refusal
from optax_ltd._numerics.example_norms import append_axes, norms


@dataclasses.dataclass(frozen=True)
class CarryClip:
    """What :func:`clip_carry_gradient` returns; give it to a layer as ``carry_clip``.

    Attributes:
      max_norm: bound of ‖δ_t‖ of each example, or None.
      max_value: bound of each entry of δ_t, or None.
    """

    max_norm: float | None
    max_value: float | None

    def __call__(
        self, error: list[jax.Array], num_batch_dims: int
    ) -> tuple[list[jax.Array], jax.Array]:
        """Clips δ_t, leaves ``[*batch, ...]``, and says which examples it changed."""
        if self.max_norm is not None:
            return _by_norm(error, self.max_norm, num_batch_dims)
        return _by_value(error, self.max_value or math.inf, num_batch_dims)


def _by_norm(
    error: list[jax.Array], max_norm: float, num_batch_dims: int
) -> tuple[list[jax.Array], jax.Array]:
    size = norms(error, num_batch_dims)
    above = size > max_norm
    scale = jnp.where(above, max_norm / jnp.where(above, size, 1), 1)
    clipped = [x * append_axes(scale, x).astype(x.dtype) for x in error]
    return [
        jnp.where(append_axes(above, x), c, x)
        for x, c in zip(error, clipped, strict=True)
    ], above


def _by_value(
    error: list[jax.Array], max_value: float, num_batch_dims: int
) -> tuple[list[jax.Array], jax.Array]:
    beyond = [
        jnp.any(jnp.abs(x) > max_value, axis=tuple(range(num_batch_dims, x.ndim)))
        for x in error
    ]
    clipped = [jnp.clip(x, -max_value, max_value) for x in error]
    return clipped, jnp.any(jnp.stack(beyond), axis=0)


def clip_carry_gradient(
    max_norm: float | None = None, *, max_value: float | None = None
) -> CarryClip:
    """Clips the error signal δ_t at each step of back-propagation through time.

    Where a clip of the whole gradient only shortens what has already exploded, this one
    acts at every step and for every example, on the way back through time: with
    ``max_norm`` δ_t ← δ_t · min(1, max_norm / ‖δ_t‖), with ``max_value`` each entry.
    The gradient is then no longer that of the loss, but it cannot grow from step to
    step beyond the bound. Inf and NaN are not hidden: a norm of Inf gives NaN.

    Args:
      max_norm: bound of the norm of δ_t of each example, all carry leaves together.
      max_value: bound of the absolute value of each entry of δ_t.

    Returns:
      What ``FlowRNN`` and ``unroll`` take as ``carry_clip``.

    Raises:
      ValueError: unless exactly one bound is given, and it is a finite number > 0.

    Examples:
      >>> import optax_ltd as ltd
      >>> from flax import nnx
      >>> cell = nnx.SimpleCell(6, 50, rngs=nnx.Rngs(0))
      >>> rnn = ltd.FlowRNN(cell, carry_clip=ltd.clip_carry_gradient(1.0))

    References:
      Goodfellow, Bengio & Courville, `Deep Learning
      <https://www.deeplearningbook.org>`_, 2016, section 10.11.1.
    """
    bounds = {"max_norm": max_norm, "max_value": max_value}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    if len(given) != 1:
        raise ValueError(
            f"`max_norm` or `max_value` must be given, and not both; got {bounds}."
        )
    for name, bound in given.items():
        if not (is_number(bound) and math.isfinite(bound) and bound > 0):
            raise refusal(name, "a finite number > 0", bound)
    return CarryClip(max_norm, max_value)


def check_carry_clip(name: str, carry_clip: Any) -> None:
    """Requires None or a :class:`CarryClip`; raises TypeError."""
    if carry_clip is not None and not isinstance(carry_clip, CarryClip):
        required = "None or what optax_ltd.clip_carry_gradient returns"
        raise refusal(name, required, carry_clip, error=TypeError)
