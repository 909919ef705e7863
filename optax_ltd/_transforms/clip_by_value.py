"""Clip every entry of the gradient."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from optax_ltd._numerics.checks import check_nonnegative
from optax_ltd._numerics.dtypes import is_inexact, real_dtype, widened
from optax_ltd._numerics.shards import (
    Axes,
    AxisName,
    check_axis_name,
    max_over_shards,
    sum_over_shards,
)
from optax_ltd._numerics.tree_norm import TreeNorm
from optax_ltd._transforms._one_program import in_one_program
from optax_ltd._transforms._rescale import map_inexact, threshold_in
from optax_ltd._transforms._transformation import transformation
from optax_ltd._transforms.records.record import (
    GradientRecord,
    init_record,
    update_record,
)


class ClipByValueState(NamedTuple):
    """State of `clip_by_value`.

    Attributes:
      record: what was seen. Its norm is the largest absolute entry, which is the
        norm that this transformation bounds, and its scale is the smallest factor
        that any entry met.
    """

    record: GradientRecord


def clip_by_value(
    max_delta: jax.typing.ArrayLike, *, axis_name: AxisName = None
) -> optax.GradientTransformationExtraArgs:
    r"""Clips the gradient entry by entry to ``[-max_delta, max_delta]``.

    .. math:: g_i \leftarrow \max(-v, \min(v, g_i))

    The direction changes, but each entry keeps its sign, so a small step still
    descends. A complex entry keeps its phase: its modulus is clipped.

    Inf and NaN are not clipped but passed on as they are and counted apart: a
    clip that turned Inf into `max_delta` would hide that the gradient is lost. Put
    `nonfinite_random_step` before this transformation to deal with them.

    Args:
      max_delta: the largest absolute value v that an entry may have, at least 0.
      axis_name: the axis or axes of `jax.shard_map`, `jax.pmap` or `jax.vmap` along
        which the gradient is split; see `global_norm`. Only the record needs it.

    Returns:
      A `optax.GradientTransformationExtraArgs` with a `ClipByValueState`.

    Raises:
      ValueError: `max_delta` is negative, NaN or no number; `axis_name` is no name.
        An array is judged by its shape and dtype alone.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> tx = ltd.clip_by_value(1.0)
      >>> gradient = jnp.array([0.5, -3.0])
      >>> update, state = tx.update(gradient, tx.init(gradient))
      >>> print(update)
      [ 0.5 -1. ]

    References:
      Goodfellow, Bengio, Courville, *Deep Learning*, 2016, section 10.11.1.

      Mikolov, *Statistical language models based on neural networks*, PhD thesis,
      Brno University of Technology, 2012.
    """
    max_delta = check_nonnegative("max_delta", max_delta, finite=False)
    axes = check_axis_name(axis_name)

    def init(params: Any) -> ClipByValueState:
        del params
        return ClipByValueState(init_record())

    def update(
        updates: Any, state: ClipByValueState, params: Any = None, **extra_args: Any
    ) -> tuple[Any, ClipByValueState]:
        del params, extra_args
        return in_one_program(_update, updates, state, max_delta=max_delta, axes=axes)

    return transformation(init, update)


def _update(
    updates: Any,
    state: ClipByValueState,
    *,
    max_delta: jax.typing.ArrayLike,
    axes: Axes,
) -> tuple[Any, ClipByValueState]:
    measured = _largest_entry(updates, axes)
    threshold = threshold_in(measured.root.dtype, max_delta)
    clipped = measured.finite & (measured.root > threshold * measured.lift)
    smallest = threshold * measured.lift / jnp.where(clipped, measured.root, 1)
    record = update_record(
        state.record,
        updates,
        measured,
        scale=jnp.where(clipped, smallest, 1),
        clipped=clipped,
    )
    new_updates = map_inexact(lambda leaf: _clip(leaf, max_delta), updates)
    return new_updates, ClipByValueState(record)


def _clip(leaf: jax.Array, max_delta: jax.typing.ArrayLike) -> jax.Array:
    threshold = threshold_in(real_dtype(leaf.dtype), max_delta)
    wide = widened(leaf)
    if jnp.iscomplexobj(leaf):
        lift = _lift(leaf)
        above = (jnp.abs(wide * lift) > threshold * lift) & jnp.isfinite(leaf)
        # The `where` keeps the modulus of 0 out of the derivative.
        lifted = jnp.where(above, wide * lift, 1)
        size = jnp.abs(lifted)
        parts = (part / size * threshold for part in (lifted.real, lifted.imag))
        bounded = lax.complex(*parts)
    else:
        # Not by the absolute value: XLA would keep that in memory, as the record too
        # is made of it.
        above = ((wide > threshold) | (wide < -threshold)) & jnp.isfinite(leaf)
        bounded = jnp.where(wide > 0, threshold, -threshold)
    # Selected rather than computed, as arithmetic may flush what is subnormal.
    return jnp.where(above, bounded.astype(leaf.dtype), leaf)


def _lift(leaf: jax.Array) -> float:
    """A factor that keeps the modulus of a finite entry finite."""
    return 0.5 if jnp.iscomplexobj(leaf) else 1.0


def _largest_entry(tree: Any, axes: Axes) -> TreeNorm:
    """The largest absolute entry; NaN if an entry is, else Inf if one is."""
    leaves = [
        (i, jnp.asarray(leaf))
        for i, leaf in enumerate(jax.tree.leaves(tree))
        if is_inexact(leaf) and jnp.size(leaf)
    ]
    if not leaves:
        zero, one = jnp.zeros((), jnp.float32), jnp.ones((), jnp.float32)
        return TreeNorm(zero, one, jnp.full((), -1, jnp.int32))
    arrays = [leaf for _, leaf in leaves]
    lift = min(map(_lift, arrays))
    largest = [_largest(leaf, lift) for leaf in arrays]
    nans = [jnp.isnan(value).astype(value.dtype) for value in largest]
    nans = jnp.stack([n > 0 for n in sum_over_shards(nans, arrays, axes)])
    largest = [jnp.where(jnp.isnan(value), 0, value) for value in largest]
    largest = max_over_shards(largest, arrays, axes)
    dtype = jnp.result_type(*largest)
    maxima = jnp.stack([value.astype(dtype) for value in largest])
    maxima = jnp.where(nans, jnp.nan, maxima)
    bad = ~jnp.isfinite(maxima)
    indices = jnp.asarray([i for i, _ in leaves], jnp.int32)
    first = jnp.where(jnp.any(bad), indices[jnp.argmax(bad)], -1)
    return TreeNorm(jnp.max(maxima), jnp.full((), lift, maxima.dtype), first)


def _largest(leaf: jax.Array, lift: float) -> jax.Array:
    wide = widened(leaf) * lift
    # Between devices a maximum may lose a NaN, which a sum keeps. A selection inside
    # the maximum instead would cost XLA's vectorised loop.
    spoilt = jnp.isnan(jnp.sum(wide * 0))
    largest = jnp.max(jnp.abs(wide))
    return jnp.where(spoilt & jnp.isfinite(largest), jnp.nan, largest)
