"""Clip a norm that lies too many standard deviations above the mean."""

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
    counted_norm,
    first_moments,
    next_deviation,
    next_mean,
)
from optax_ltd._transforms.records.record import GradientRecord, init_record
from optax_ltd._transforms.records.window import empty_window, is_full, push

# A bound of less than this many deviations on what enters the statistics would make
# the deviation shrink each time that it is met.
_LEAST_BOUND = 2.5


class ClipByNormZscoreState(NamedTuple):
    """State of `clip_by_norm_zscore`.

    Attributes:
      record: what was seen.
      first_norms: norms of the warm-up, [warmup_steps]; -1 where none has come yet.
      mean: running mean of the norms; 0 until the warm-up is over.
      deviation: running standard deviation of the norms; 0 until then.
    """

    record: GradientRecord
    first_norms: jax.Array
    mean: jax.Array
    deviation: jax.Array


def clip_by_norm_zscore(
    threshold: jax.typing.ArrayLike = 2.5,
    *,
    decay: jax.typing.ArrayLike = 0.97,
    max_norm: jax.typing.ArrayLike = 1.0,
    warmup_steps: int = 25,
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Clips a global norm that stands out from the recent ones: ZClip.

    .. math::
      z = \frac{\|g\| - \mu}{\sigma + 10^{-6} \mu}, \qquad
      v = \begin{cases}
        \min(\mu + z_0^2 \sigma / z, \; v_0) & \text{if } z > z_0 \\
        v_0 & \text{otherwise}
      \end{cases}, \qquad
      g \leftarrow g \, \frac{v}{\|g\|} \quad \text{if } \|g\| > v

    The further a norm stands out, the nearer to the mean it is brought. Mean and
    deviation are those before the step. Then a norm n enters them by

    .. math::
      \mu \leftarrow \beta \mu + (1 - \beta) n, \qquad
      \sigma^2 \leftarrow \beta \sigma^2 + (1 - \beta) (n - \mu)^2

    with the new :math:`\mu` on the right, and n at most
    :math:`\mu + \max(z_0, 2.5) (\sigma + 10^{-6} \mu)`. One bad step thus raises the
    deviation by 7 % at the defaults, whatever its size.

    Differences from ZClip: there the norm after clipping enters, so that when norms
    rise for good the deviation shrinks and the clip stays for ever; here the rise is
    learnt. There :math:`10^{-6}` is added to :math:`\sigma` as it is, so that small
    norms never stand out.

    Warm-up: the z-score clips nothing until `warmup_steps` gradients have been
    counted; `max_norm` bounds the norm from the first. Mean and deviation then start
    as those of the counted norms, without any of more than ten times their median:
    bad steps in the warm-up leave no trace as long as they are fewer than half.

    Only gradients that are finite and not zero are counted. One with an Inf or a NaN
    is passed on as it is and counted apart, and leaves the statistics alone; put
    `nonfinite_random_step` in front to deal with it.

    Args:
      threshold: the z-score :math:`z_0` above which a norm is clipped, at least 0.
      decay: the weight :math:`\beta` of the past, 0 to 1.
      max_norm: the largest norm :math:`v_0` in any case, at least 0; `inf` for none.
      warmup_steps: counted gradients before the first z-score, an int of at least 1.
        Under `optax.inject_hyperparams` name it in `static_args`.
      axis_name: the axis or axes of `jax.shard_map`, `jax.pmap` or `jax.vmap` along
        which the gradient is split; see `global_norm`.

    Returns:
      A `optax.GradientTransformationExtraArgs` with a `ClipByNormZscoreState`.

    Raises:
      ValueError: a number is out of its range, NaN or no number; `warmup_steps` is
        no int of at least 1; `axis_name` is no name. An array is judged by its shape
        and dtype alone.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> tx = ltd.clip_by_norm_zscore(max_norm=jnp.inf, warmup_steps=2)
      >>> state = tx.init(jnp.zeros(2))
      >>> for size in (1.0, 3.0, 12.0):
      ...     update, state = tx.update(size * jnp.array([0.6, 0.8]), state)
      >>> print(f"{ltd.global_norm(update):.3f}")  # z = 10, so 2 + 2.5 ** 2 / 10
      2.625

    References:
      Kumar, Owen, Chowdhury, Güra, *ZClip: Adaptive spike mitigation for LLM
      pre-training*, 2025, https://arxiv.org/abs/2504.02507.
    """
    threshold = check_nonnegative("threshold", threshold, finite=False)
    decay = check_nonnegative("decay", decay, at_most=1)
    max_norm = check_nonnegative("max_norm", max_norm, finite=False)
    warmup_steps = check_static_count("warmup_steps", warmup_steps, at_least=1)
    axes = check_axis_name(axis_name)

    def init(params: Any) -> ClipByNormZscoreState:
        del params
        first_norms = empty_window(warmup_steps)
        mean, deviation = jnp.zeros((), float), jnp.zeros((), float)
        return ClipByNormZscoreState(init_record(), first_norms, mean, deviation)

    def update(
        updates: Any,
        state: ClipByNormZscoreState,
        params: Any = None,
        **extra_args: Any,
    ) -> tuple[Any, ClipByNormZscoreState]:
        del params, extra_args
        return in_one_program(
            _update,
            updates,
            state,
            threshold=threshold,
            decay=decay,
            max_norm=max_norm,
            axes=axes,
        )

    return transformation(init, update)


def _update(
    updates: Any,
    state: ClipByNormZscoreState,
    *,
    threshold: jax.typing.ArrayLike,
    decay: jax.typing.ArrayLike,
    max_norm: jax.typing.ArrayLike,
    axes: Axes,
) -> tuple[Any, ClipByNormZscoreState]:
    measured = tree_norm(updates, axes)
    dtype = state.mean.dtype
    norm, counts = counted_norm(measured, dtype)
    limit, bound = _limits(norm, state, jnp.asarray(threshold).astype(dtype))
    limit = jnp.minimum(limit, max_norm)
    new_updates, record = clip(updates, measured, limit, state.record)
    bounded = jnp.minimum(norm, bound)
    statistics = _advance(state, bounded, counts, jnp.asarray(decay).astype(dtype))
    return new_updates, ClipByNormZscoreState(record, *statistics)


def _limits(
    norm: jax.Array, state: ClipByNormZscoreState, threshold: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """To what the norm is clipped, and as how much it enters at most; Inf if free."""
    mean, deviation = state.mean, state.deviation
    threshold = jnp.maximum(threshold, 0)
    spread = jnp.maximum(deviation + 1e-6 * mean, jnp.finfo(norm.dtype).tiny)
    zscore = (norm - mean) / spread
    warm = is_full(state.first_norms)
    above = warm & (zscore > threshold)
    share = threshold / jnp.where(above, zscore, 1)
    reach = jnp.where(above, threshold * share, 0)
    limit = jnp.where(above, mean + reach * deviation, jnp.inf)
    bound = mean + jnp.maximum(threshold, _LEAST_BOUND) * spread
    return limit, jnp.where(warm, bound, jnp.inf)


def _advance(
    state: ClipByNormZscoreState, norm: jax.Array, counts: jax.Array, decay: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The norms of the warm-up, the mean and the deviation with one norm more."""
    warm = is_full(state.first_norms)
    first_norms = push(state.first_norms, norm, counts & ~warm)
    mean = next_mean(state.mean, norm, decay)
    deviation = next_deviation(state.deviation, norm - mean, decay)
    full = is_full(first_norms)
    starts = [jnp.where(full, start, 0) for start in first_moments(first_norms)]
    old, new = (state.mean, state.deviation), (mean, deviation)
    mean, deviation = (
        jnp.where(warm, jnp.where(counts, later, before), start)
        for before, later, start in zip(old, new, starts, strict=True)
    )
    return first_norms, mean, deviation
