"""Clip the norm; where there is none to clip, take a random step."""

from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax

from optax_ltd._numerics.checks import check_choice, check_nonnegative
from optax_ltd._numerics.shards import Axes, AxisName, check_axis_name
from optax_ltd._numerics.tree_norm import tree_norm
from optax_ltd._transforms._key import SeedOrKey, check_key, raw_key
from optax_ltd._transforms._one_program import in_one_program
from optax_ltd._transforms._random_step import Direction, random_step
from optax_ltd._transforms._rescale import map_inexact, rescaling
from optax_ltd._transforms._transformation import transformation
from optax_ltd._transforms.records.record import (
    GradientRecord,
    init_record,
    update_record,
)


class ClipOrRandomStepState(NamedTuple):
    """State of `clip_or_random_step`.

    Attributes:
      record: what was seen.
      key: raw PRNG key.
    """

    record: GradientRecord
    key: jax.Array


def clip_or_random_step(
    max_norm: jax.typing.ArrayLike,
    *,
    key: SeedOrKey,
    direction: Direction = "signs",
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Clips the global norm, and replaces Inf or NaN by a random step.

    .. math::
      g \leftarrow \begin{cases}
        v \, u & \text{if an entry of } g \text{ is Inf or NaN} \\
        g \, v / \|g\| & \text{if } \|g\| > v \\
        g & \text{otherwise, bit for bit}
      \end{cases}

    with u a random direction of norm 1. The guard to put before an optimiser when
    gradients explode: whatever comes in, a finite update of norm at most v comes
    out. The norm is v up to rounding, as each entry is rounded to its leaf's dtype:
    it may exceed v by a part in :math:`2^8` for bfloat16, in :math:`2^{11}` for
    float16, and by a few in :math:`2^{24}` for float32. It does what
    `nonfinite_random_step` and `clip_by_global_norm` do one after the other, but
    measures the gradient once, and both cases are parts of the loop that the
    optimiser after it runs anyway.

    With `optax.MultiSteps`, put this before it, in a chain, where it acts on each
    micro-batch, or put `skip_steps` around both, so that a bad micro-batch is left out.
    Inside alone, it comes too late: Optax clears its sum of gradients by a product with
    0, so that a NaN in it stays, and every later step is a random one.

    Args:
      max_norm: largest norm v, and norm of the random step; finite, at least 0.
      key: an int or a PRNG key. The same key gives the same steps, on every replica.
      direction: of the random step; see `nonfinite_random_step`.
      axis_name: the axis or axes of `jax.shard_map`, `jax.pmap` or `jax.vmap` along
        which the gradient is split; see `global_norm`. A random step then has its norm
        over all parts, and differs from part to part.

    Returns:
      A `optax.GradientTransformationExtraArgs` with a `ClipOrRandomStepState`.

    Raises:
      ValueError: `max_norm` is negative, infinite, NaN or no number; `key` is no
        key; `direction` is unknown; `axis_name` is no name. An array is judged by its
        shape and dtype alone.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> tx = ltd.clip_or_random_step(1.0, key=0)
      >>> state = tx.init(jnp.zeros(4))
      >>> update, state = tx.update(jnp.array([0.0, 3.0, 0.0, -4.0]), state)
      >>> print(update)
      [ 0.   0.6  0.  -0.8]
      >>> update, state = tx.update(jnp.array([0.0, jnp.nan, 0.0, 1.0]), state)
      >>> print(abs(update))
      [0.5 0.5 0.5 0.5]

    References:
      Goodfellow, Bengio, Courville, *Deep Learning*, 2016, section 10.11.1.

      Pascanu, Mikolov, Bengio, *On the difficulty of training recurrent neural
      networks*, ICML 2013, algorithm 1.
    """
    max_norm = check_nonnegative("max_norm", max_norm)
    key = check_key("key", key)
    check_choice("direction", direction, get_args(Direction))
    axes = check_axis_name(axis_name)

    def init(params: Any) -> ClipOrRandomStepState:
        del params
        return ClipOrRandomStepState(init_record(), raw_key(key))

    def update(
        updates: Any,
        state: ClipOrRandomStepState,
        params: Any = None,
        **extra_args: Any,
    ) -> tuple[Any, ClipOrRandomStepState]:
        del params, extra_args
        return in_one_program(
            _update,
            updates,
            state,
            max_norm=max_norm,
            direction=direction,
            axes=axes,
        )

    return transformation(init, update)


def _update(
    updates: Any,
    state: ClipOrRandomStepState,
    *,
    max_norm: jax.typing.ArrayLike,
    direction: Direction,
    axes: Axes,
) -> tuple[Any, ClipOrRandomStepState]:
    measured = tree_norm(updates, axes)
    rescale = rescaling(measured, max_norm)
    steps = random_step(
        state.key,
        state.record.total_count,
        updates,
        max_norm,
        needed=~measured.finite,
        direction=direction,
        axes=axes,
    )
    new_updates = map_inexact(
        lambda leaf, step: jnp.where(measured.finite, rescale(leaf), step),
        updates,
        steps,
    )
    record = update_record(
        state.record,
        updates,
        measured,
        scale=jnp.where(measured.finite, rescale.scale, 0),
        clipped=rescale.clipped,
    )
    return new_updates, ClipOrRandomStepState(record, state.key)
