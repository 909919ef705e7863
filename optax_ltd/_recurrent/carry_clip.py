"""Clipping of the error signal inside back-propagation through time."""

import dataclasses
import math
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from optax_ltd._numerics.checks import check_number, refusal
from optax_ltd._numerics.example_norms import append_axes, norms

Bound: TypeAlias = jax.Array | float


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CarryClip:
    """What :func:`clip_carry_gradient` returns; give it to a layer as ``carry_clip``.

    It is a tree, whose leaf is the bound.

    Attributes:
      max_norm: bound of ‖δ_t‖ of each example, or None.
      max_value: bound of each entry of δ_t, or None.
    """

    max_norm: Bound | None
    max_value: Bound | None

    def __call__(
        self, error: list[jax.Array], num_batch_dims: int
    ) -> tuple[list[jax.Array], jax.Array]:
        """Clips δ_t, leaves ``[*batch, ...]``, and says which examples it changed."""
        if self.max_norm is not None:
            return _by_norm(error, self.max_norm, num_batch_dims)
        bound = math.inf if self.max_value is None else self.max_value
        return _by_value(error, bound, num_batch_dims)


def _by_norm(
    error: list[jax.Array], max_norm: Bound, num_batch_dims: int
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
    error: list[jax.Array], max_value: Bound, num_batch_dims: int
) -> tuple[list[jax.Array], jax.Array]:
    beyond = [
        jnp.any(jnp.abs(x) > max_value, axis=tuple(range(num_batch_dims, x.ndim)))
        for x in error
    ]
    clipped = [jnp.clip(x, -max_value, max_value).astype(x.dtype) for x in error]
    return clipped, jnp.any(jnp.stack(beyond), axis=0)


def clip_carry_gradient(
    max_norm: jax.typing.ArrayLike | None = None,
    *,
    max_value: jax.typing.ArrayLike | None = None,
) -> CarryClip:
    """Clips the error signal δ_t at each step of back-propagation through time.

    Where a clip of the whole gradient only shortens what has already exploded, this one
    acts at every step and for every example, on the way back through time: with
    ``max_norm`` δ_t ← δ_t · min(1, max_norm / ‖δ_t‖), with ``max_value`` each entry.
    The gradient is then no longer that of the loss, but it cannot grow from step to
    step beyond the bound. Inf and NaN are not hidden: a norm of Inf gives NaN.

    A bound may be a scalar array, as where ``jax.vmap`` tries many; nothing judges its
    value, and the gradient with respect to it is zero.

    Args:
      max_norm: bound of the norm of δ_t of each example, all carry leaves together.
      max_value: bound of the absolute value of each entry of δ_t.

    Returns:
      What ``FlowRNN`` and ``unroll`` take as ``carry_clip``.

    Raises:
      ValueError: unless exactly one bound is given, and it is a finite number > 0 or a
        scalar array.

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
    checked = {name: check_number(name, x, above=0) for name, x in given.items()}
    return CarryClip(checked.get("max_norm"), checked.get("max_value"))


def check_carry_clip(name: str, carry_clip: Any) -> None:
    """Requires None or a :class:`CarryClip`; raises TypeError."""
    if carry_clip is not None and not isinstance(carry_clip, CarryClip):
        required = "None or what optax_ltd.clip_carry_gradient returns"
        raise refusal(name, required, carry_clip, error=TypeError)
