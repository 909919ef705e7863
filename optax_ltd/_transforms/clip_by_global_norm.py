"""Clip the norm of the whole gradient."""

from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import optax

from optax_ltd._numerics.checks import check_choice, check_nonnegative
from optax_ltd._numerics.shards import Axes, AxisName, check_axis_name
from optax_ltd._numerics.tree_norm import tree_norm
from optax_ltd._transforms._key import SeedOrKey, check_key, check_no_key, raw_key
from optax_ltd._transforms._one_program import in_one_program
from optax_ltd._transforms._random_step import Direction, random_step
from optax_ltd._transforms._rescale import map_inexact, rescaling
from optax_ltd._transforms._transformation import transformation
from optax_ltd._transforms.records.record import (
    GradientRecord,
    init_record,
    update_record,
)

Above: TypeAlias = Literal["rescale", "random_step"]


class ClipByGlobalNormState(NamedTuple):
    """State of `clip_by_global_norm`.

    Attributes:
      record: what was seen.
      key: raw PRNG key; `None` with ``above="rescale"``.
    """

    record: GradientRecord
    key: jax.Array | None


def clip_by_global_norm(
    max_norm: jax.typing.ArrayLike,
    *,
    above: Above = "rescale",
    key: SeedOrKey | None = None,
    direction: Direction = "signs",
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Bounds the L2 norm of the whole gradient, one factor for all leaves.

    .. math:: g \leftarrow g \, \frac{v}{\|g\|} \quad \text{if } \|g\| > v

    A gradient of norm at most v passes bit for bit. The norm is `global_norm`, so
    a gradient too large or too small for its square is clipped like any other. The
    factor is applied in at least float32 and each leaf keeps its dtype.

    With ``above="random_step"`` a gradient above the threshold is replaced by a
    random step of norm v, which works almost as well as rescaling it.

    A gradient with an Inf or a NaN has no norm to clip. It is passed on as it is
    and counted apart; `clip_or_random_step` deals with it too.

    Args:
      max_norm: the largest norm v, at least 0.
      above: what becomes of a finite gradient above the threshold, `"rescale"` or
        `"random_step"`.
      key: an int or a PRNG key; required by ``above="random_step"`` and to be left
        out otherwise.
      direction: of the random step; see `nonfinite_random_step`.
      axis_name: the axis or axes of `jax.shard_map`, `jax.pmap` or `jax.vmap` along
        which the gradient is split; see `global_norm`. A random step then has its norm
        over all parts, and differs from part to part.

    Returns:
      A `optax.GradientTransformationExtraArgs` with a `ClipByGlobalNormState`.

    Raises:
      ValueError: `max_norm` is negative, NaN or no number; `above` or `direction`
        is unknown; `key` is missing, no key, or given with ``above="rescale"``;
        `axis_name` is no name. An array is judged by its shape and dtype alone.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> tx = ltd.clip_by_global_norm(1.0)
      >>> gradient = jnp.array([3e20, 4e20])
      >>> update, state = tx.update(gradient, tx.init(gradient))
      >>> print(update.round(6))
      [0.6 0.8]

    References:
      Pascanu, Mikolov, Bengio, *On the difficulty of training recurrent neural
      networks*, ICML 2013, algorithm 1.

      Goodfellow, Bengio, Courville, *Deep Learning*, 2016, section 10.11.1,
      Eqs. (10.48) and (10.49).
    """
    random = above == "random_step"
    check_choice("above", above, get_args(Above))
    check_choice("direction", direction, get_args(Direction))
    max_norm = check_nonnegative("max_norm", max_norm, finite=random)
    key = check_key("key", key) if random else check_no_key("key", key, f"{above=!r}")
    axes = check_axis_name(axis_name)

    def init(params: Any) -> ClipByGlobalNormState:
        del params
        words = None if key is None else raw_key(key)
        return ClipByGlobalNormState(init_record(), words)

    def update(
        updates: Any,
        state: ClipByGlobalNormState,
        params: Any = None,
        **extra_args: Any,
    ) -> tuple[Any, ClipByGlobalNormState]:
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
    state: ClipByGlobalNormState,
    *,
    max_norm: jax.typing.ArrayLike,
    direction: Direction,
    axes: Axes,
) -> tuple[Any, ClipByGlobalNormState]:
    measured = tree_norm(updates, axes)
    rescale = rescaling(measured, max_norm)
    scale = rescale.scale
    if state.key is None:
        new_updates = map_inexact(rescale, updates)
    else:
        scale = jnp.where(rescale.clipped, 0, scale)
        steps = random_step(
            state.key,
            state.record.total_count,
            updates,
            max_norm,
            needed=rescale.clipped,
            direction=direction,
            axes=axes,
        )
        new_updates = map_inexact(
            lambda leaf, step: jnp.where(rescale.clipped, step, leaf),
            updates,
            steps,
        )
    record = update_record(
        state.record, updates, measured, scale=scale, clipped=rescale.clipped
    )
    return new_updates, ClipByGlobalNormState(record, state.key)
