"""Clip the norm at a multiple of its running average."""

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
from optax_ltd._transforms.records.norm_statistics import (
    OUTLIER,
    counted_norm,
    first_moments,
    next_mean,
)
from optax_ltd._transforms.records.record import GradientRecord, init_record
from optax_ltd._transforms.records.window import empty_window, is_full, push


class ClipByAverageNormState(NamedTuple):
    """State of `clip_by_average_norm`.

    Attributes:
      record: what was seen.
      first_norms: norms of the warm-up, [warmup_steps]; -1 where none has come yet.
      mean: running average of the norms; 0 until the warm-up is over.
    """

    record: GradientRecord
    first_norms: jax.Array
    mean: jax.Array


def clip_by_average_norm(
    multiple: jax.typing.ArrayLike,
    *,
    decay: jax.typing.ArrayLike = 0.99,
    warmup_steps: int = 25,
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Clips the global norm at a multiple of its running average.

    .. math::
      g \leftarrow g \, \frac{c \, m}{\|g\|} \quad \text{if } \|g\| > c \, m,
      \qquad m \leftarrow \beta \, m + (1 - \beta) \min(\|g\|, 10 \, m)

    The threshold is that of the step before; the average then takes in the norm as
    it came, but as ten times the average at most. One bad step thus raises
    the threshold by 9 % at the default decay, whatever its size, while a lasting
    rise, even of many orders, is learnt.

    Warm-up: nothing is clipped until `warmup_steps` gradients have been counted.
    The average then starts as the mean of their norms, without those of more than
    ten times their median: bad steps in the warm-up leave no trace in it as long as
    they are fewer than half. Put `clip_by_global_norm` with a generous
    threshold in front where the first steps need a bound too.

    Only gradients that are finite and not zero are counted. One with an Inf or a NaN
    is passed on as it is and counted apart, and leaves the average alone; put
    `nonfinite_random_step` in front to deal with it.

    Args:
      multiple: the multiple c, at least 0. Pascanu et al. found values from half to
        ten times the average to work, the lower ones at the cost of slower training.
      decay: the weight :math:`\beta` of the past, 0 to 1.
      warmup_steps: counted gradients before the first is clipped, an int of at least
        1. Under `optax.inject_hyperparams` name it in `static_args`.
      axis_name: the axis or axes of `jax.shard_map`, `jax.pmap` or `jax.vmap` along
        which the gradient is split; see `global_norm`.

    Returns:
      A `optax.GradientTransformationExtraArgs` with a `ClipByAverageNormState`.

    Raises:
      ValueError: a number is out of its range, NaN or no number; `warmup_steps` is
        no int of at least 1; `axis_name` is no name. An array is judged by its shape
        and dtype alone.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> tx = ltd.clip_by_average_norm(2.0, warmup_steps=2)
      >>> state = tx.init(jnp.zeros(2))
      >>> for size in (1.0, 3.0, 100.0):
      ...     update, state = tx.update(size * jnp.array([0.6, 0.8]), state)
      >>> print(update.round(6))
      [2.4 3.2]

    References:
      Pascanu, Mikolov, Bengio, *On the difficulty of training recurrent neural
      networks*, ICML 2013, section 3.2.
    """
    multiple = check_nonnegative("multiple", multiple, finite=False)
    decay = check_nonnegative("decay", decay, at_most=1)
    warmup_steps = check_static_count("warmup_steps", warmup_steps, at_least=1)
    axes = check_axis_name(axis_name)

    def init(params: Any) -> ClipByAverageNormState:
        del params
        mean = jnp.zeros((), float)
        return ClipByAverageNormState(init_record(), empty_window(warmup_steps), mean)

    def update(
        updates: Any,
        state: ClipByAverageNormState,
        params: Any = None,
        **extra_args: Any,
    ) -> tuple[Any, ClipByAverageNormState]:
        del params, extra_args
        return in_one_program(
            _update, updates, state, multiple=multiple, decay=decay, axes=axes
        )

    return transformation(init, update)


def _update(
    updates: Any,
    state: ClipByAverageNormState,
    *,
    multiple: jax.typing.ArrayLike,
    decay: jax.typing.ArrayLike,
    axes: Axes,
) -> tuple[Any, ClipByAverageNormState]:
    measured = tree_norm(updates, axes)
    threshold = jnp.asarray(multiple).astype(state.mean.dtype) * state.mean
    warm = is_full(state.first_norms)
    threshold = jnp.where(warm, threshold, jnp.inf)
    new_updates, record = clip(updates, measured, threshold, state.record)
    norm, counts = counted_norm(measured, state.mean.dtype)
    first_norms = push(state.first_norms, norm, counts & ~warm)
    bounded = jnp.minimum(norm, OUTLIER * state.mean)
    beta = jnp.asarray(decay).astype(state.mean.dtype)
    later = next_mean(state.mean, bounded, beta)
    first, _ = first_moments(first_norms)
    start = jnp.where(is_full(first_norms), first, 0)
    mean = jnp.where(warm, jnp.where(counts, later, state.mean), start)
    return new_updates, ClipByAverageNormState(record, first_norms, mean)
