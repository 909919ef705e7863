"""Clip the norm at a percentile of the recent norms."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_ltd._numerics.checks import check_nonnegative, check_static_count
from optax_ltd._numerics.shards import Axes, AxisName, check_axis_name
from optax_ltd._numerics.tree_norm import tree_norm
from optax_ltd._transforms._one_program import in_one_program
from optax_ltd._transforms._rescale import clip
from optax_ltd._transforms._transformation import transformation
from optax_ltd._transforms.records.norm_statistics import counted_norm
from optax_ltd._transforms.records.record import GradientRecord, init_record
from optax_ltd._transforms.records.window import empty_window, push, window_percentile


class ClipByNormPercentileState(NamedTuple):
    """State of `clip_by_norm_percentile`.

    Attributes:
      record: what was seen.
      norms: the last norms, [window_size], the newest last; -1 where none has come
        yet.
    """

    record: GradientRecord
    norms: jax.Array


def clip_by_norm_percentile(
    percentile: jax.typing.ArrayLike = 10.0,
    *,
    window_size: int = 1000,
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Clips the global norm at a percentile of the recent norms: AutoClip.

    .. math::
      g \leftarrow g \, \frac{v}{\|g\|} \quad \text{if } \|g\| > v, \qquad
      v = P_p(n_{t-w+1}, \ldots, n_t)

    with n_t the norm of the gradient at hand, which is part of the window. At a low
    percentage nearly every gradient is brought to the size of the smallest ones, so
    the step length is left to the learning rate; at a high one, only the rare large
    gradient is clipped.

    Differences from AutoClip: it keeps all past norms, here the last `window_size`
    are kept, so that the state has a fixed size and follows the training. Of two
    norms that the percentile lies between the lower is taken, not a mixture. The
    norms in the window are those before clipping, as there.

    There is no warm-up: the first gradient has only itself to be compared with and
    passes. From the second on, the largest norm of the window is never the threshold
    (unless p is 100), so one bad step is clipped, whatever its size, and moves later
    thresholds by one rank; so do more of them, as long as they are fewer than
    a share 1 - p/100 of the window.

    Only gradients that are finite and not zero enter the window. One with an Inf or
    a NaN is passed on as it is and counted apart; put `nonfinite_random_step` in
    front to deal with it.

    Args:
      percentile: the percentage p, 0 to 100.
      window_size: how many norms are kept, w, an int of at least 1. Under
        `optax.inject_hyperparams` name it in `static_args`.
      axis_name: the axis or axes of `jax.shard_map`, `jax.pmap` or `jax.vmap` along
        which the gradient is split; see `global_norm`.

    Returns:
      A `optax.GradientTransformationExtraArgs` with a `ClipByNormPercentileState`.

    Raises:
      ValueError: `percentile` is out of its range, NaN or no number; `window_size` is
        no int of at least 1; `axis_name` is no name. An array is judged by its shape
        and dtype alone.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> tx = ltd.clip_by_norm_percentile(50.0, window_size=10)
      >>> state = tx.init(jnp.zeros(2))
      >>> for size in (1.0, 2.0, 100.0):
      ...     update, state = tx.update(size * jnp.array([0.6, 0.8]), state)
      >>> print(update.round(6))
      [1.2 1.6]

    References:
      Seetharaman, Wichern, Pardo, Le Roux, *AutoClip: Adaptive gradient clipping for
      source separation networks*, MLSP 2020, https://arxiv.org/abs/2007.14469.
    """
    percentile = check_nonnegative("percentile", percentile, at_most=100)
    window_size = check_static_count("window_size", window_size, at_least=1)
    axes = check_axis_name(axis_name)

    def init(params: Any) -> ClipByNormPercentileState:
        del params
        return ClipByNormPercentileState(init_record(), empty_window(window_size))

    def update(
        updates: Any,
        state: ClipByNormPercentileState,
        params: Any = None,
        **extra_args: Any,
    ) -> tuple[Any, ClipByNormPercentileState]:
        del params, extra_args
        return in_one_program(_update, updates, state, percentile=percentile, axes=axes)

    return transformation(init, update)


def _update(
    updates: Any,
    state: ClipByNormPercentileState,
    *,
    percentile: jax.typing.ArrayLike,
    axes: Axes,
) -> tuple[Any, ClipByNormPercentileState]:
    measured = tree_norm(updates, axes)
    norms = push(state.norms, *counted_norm(measured, state.norms.dtype))
    threshold = window_percentile(norms, jnp.asarray(percentile).astype(norms.dtype))
    # By what is kept of its norm, or one beyond the range would exceed itself.
    threshold = jnp.where(norms[-1] <= threshold, jnp.inf, threshold)
    new_updates, record = clip(updates, measured, threshold, state.record)
    return new_updates, ClipByNormPercentileState(record, norms)
