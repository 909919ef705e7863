"""Clip each leaf at a multiple of the running average of its own clipped norms."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from optax_ltd._numerics.checks import check_nonnegative, check_static_count
from optax_ltd._numerics.leaf_norms import LeafNorms, entries, leaf_norms
from optax_ltd._numerics.shards import Axes, AxisName, check_axis_name
from optax_ltd._numerics.tree_norm import TreeNorm
from optax_ltd._transforms._one_program import in_one_program
from optax_ltd._transforms._rescale import (
    map_inexact,
    rescaling,
    threshold_in,
)
from optax_ltd._transforms._transformation import transformation
from optax_ltd._transforms.records.leaf_record import (
    LeafRecord,
    init_leaf_record,
    leaf_count,
)
from optax_ltd._transforms.records.norm_statistics import counted_norm, next_mean
from optax_ltd._transforms.records.record import (
    GradientRecord,
    increment,
    init_record,
    update_record,
)
from optax_ltd._transforms.records.window import bounded


class ClipByLeafAverageNormState(NamedTuple):
    """State of `clip_by_leaf_average_norm`.

    Attributes:
      record: what was seen. Its scale is the smallest factor that any leaf met, and
        its recent clips are shares of the leaves.
      counted: gradients counted so far, up to the end of the warm-up.
      averages: running averages of the leaves' clipped norms, [leaves], in the warm-up
        their minima; 0 for a leaf that none has come of yet.
      leaf_record: the norm of each leaf of the last gradient.
    """

    record: GradientRecord
    counted: jax.Array
    averages: jax.Array
    leaf_record: LeafRecord


def clip_by_leaf_average_norm(
    multiple: jax.typing.ArrayLike = 1.04,
    *,
    decay: jax.typing.ArrayLike = 0.99,
    max_norm: jax.typing.ArrayLike = 1.0,
    warmup_steps: int = 100,
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Clips each leaf at a multiple of the average of its own clipped norms: AdaGC.

    .. math::
      g_i \leftarrow g_i \min\Big(1, \frac{\lambda \gamma_i}{\|g_i\|}\Big), \qquad
      \gamma_i \leftarrow \beta \gamma_i + (1 - \beta) \|g_i\|

    with the clipped :math:`g_i` on the right. Where one layer explodes, the others keep
    their step, and each threshold follows its leaf as norms shrink in training.

    Warm-up: until `warmup_steps` gradients have been counted, the gradient as a whole
    is clipped at `max_norm`, and :math:`\gamma_i` is the smallest norm that the leaf
    then had. After that `max_norm` bounds no leaf, other than one that was zero all
    along, at its first norm.

    Thresholds fall fast and rise slowly: in one step by a factor of
    :math:`\beta + (1 - \beta) \lambda` at most, 1.0004 at the defaults. No bad step
    moves them by more. But where the norm of a leaf rises for good, or was unusually
    small once in the warm-up, the leaf is held down for thousands of steps, 5,800 for
    a factor of ten. With `multiple` at 1 or below no threshold ever rises. Where a
    lasting rise is to be learnt, take `clip_by_average_norm`; as a clip of each layer,
    under `optax.multi_transform`.

    With a `multiple` near 1 this is no guard against outliers alone: norms above their
    own average are common, and as the average is that of clipped norms, most leaves are
    clipped at most steps. Take 2 or more to touch nothing but outliers.

    Only gradients that are finite and not zero are counted, and of these only leaves
    that are not zero, as that of an expert that met no token. One with an Inf or a NaN
    is passed on as it is and counted apart, and leaves all averages alone; put
    `skip_steps` around the chain to deal with it. A random step in its place, by
    `nonfinite_random_step` in front, would be counted: it is spread evenly over all
    entries, so that it is small in a small leaf, and its norm may hold that leaf down.

    ``metrics(opt_state, leaf_norms=True)`` adds the norm of each leaf by its path. To
    record these and clip nothing, set both `multiple` and `max_norm` to `inf`.

    A leaf that is zero, as one that the loss does not depend on, costs each update a
    second pass over all leaves, to tell it from one that is small; `optax.masked` can
    leave it out.

    Args:
      multiple: the multiple :math:`\lambda` of the average, at least 0.
      decay: the weight :math:`\beta` of the past, 0 to 1.
      max_norm: the largest norm of the whole gradient in the warm-up, at least 0.
      warmup_steps: counted gradients in the warm-up, an int of at least 1. Under
        `optax.inject_hyperparams` name it in `static_args`.
      axis_name: the axis or axes of `jax.shard_map`, `jax.pmap` or `jax.vmap` along
        which the gradient is split; see `global_norm`.

    Returns:
      A `optax.GradientTransformationExtraArgs` with a `ClipByLeafAverageNormState`.

    Raises:
      ValueError: a number is out of its range, NaN or no number; `warmup_steps` is
        no int of at least 1; `axis_name` is no name. An array is judged by its shape
        and dtype alone. From the update, if the gradient has not as many floating
        leaves as the parameters that `init` was given.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> tx = ltd.clip_by_leaf_average_norm(2.0, warmup_steps=1)
      >>> gradient = {"calm": jnp.array([0.25]), "wild": jnp.array([0.5])}
      >>> _, state = tx.update(gradient, tx.init(gradient))
      >>> gradient = {"calm": jnp.array([0.375]), "wild": jnp.array([64.0])}
      >>> update, state = tx.update(gradient, state)
      >>> print(update["calm"], update["wild"])
      [0.375] [1.]
      >>> print(ltd.metrics(state, leaf_norms=True)
      ...       ["clip_by_leaf_average_norm/leaf_norm/wild"])
      64.0

    References:
      Wang et al., *AdaGC: Enhancing LLM pretraining stability via adaptive gradient
      clipping*, 2025, https://arxiv.org/abs/2502.11034. The defaults of
      `multiple`, `decay` and `warmup_steps` are those of its authors' code,
      https://github.com/lishuai-97/AdaGC; ports of its first version have 1.05 and
      0.98.
    """
    multiple = check_nonnegative("multiple", multiple, finite=False)
    decay = check_nonnegative("decay", decay, at_most=1)
    max_norm = check_nonnegative("max_norm", max_norm, finite=False)
    warmup_steps = check_static_count("warmup_steps", warmup_steps, at_least=1)
    axes = check_axis_name(axis_name)

    def init(params: Any) -> ClipByLeafAverageNormState:
        averages = jnp.zeros(leaf_count(params), float)
        counted = jnp.zeros((), jnp.int32)
        leaf_record = init_leaf_record(params)
        return ClipByLeafAverageNormState(init_record(), counted, averages, leaf_record)

    def update(
        updates: Any,
        state: ClipByLeafAverageNormState,
        params: Any = None,
        **extra_args: Any,
    ) -> tuple[Any, ClipByLeafAverageNormState]:
        del params, extra_args
        _check_leaves(updates, state)
        return in_one_program(
            _update,
            updates,
            state,
            multiple=multiple,
            decay=decay,
            max_norm=max_norm,
            warmup_steps=warmup_steps,
            axes=axes,
        )

    return transformation(init, update)


def _check_leaves(updates: Any, state: ClipByLeafAverageNormState) -> None:
    (required,) = jnp.shape(state.averages)[-1:]
    came = leaf_count(updates)
    if came != required:
        raise ValueError(
            "`updates` must have as many floating leaves as the parameters that `init` "
            f"was given, {required}; got {came}."
        )


def _update(
    updates: Any,
    state: ClipByLeafAverageNormState,
    *,
    multiple: jax.typing.ArrayLike,
    decay: jax.typing.ArrayLike,
    max_norm: jax.typing.ArrayLike,
    warmup_steps: int,
    axes: Axes,
) -> tuple[Any, ClipByLeafAverageNormState]:
    measured = leaf_norms(updates, axes)
    total, dtype = measured.total, state.averages.dtype
    warm = state.counted >= warmup_steps
    own = warm & (state.averages > 0)
    whole = threshold_in(dtype, max_norm)
    # Infinity times an average that is not there yet would be NaN.
    averages = jnp.where(own, state.averages, 1)
    limits = jnp.where(own, threshold_in(dtype, multiple) * averages, whole)
    rescale = rescaling(_judged(measured, warm), limits)
    record = update_record(
        state.record,
        updates,
        total,
        scale=jnp.min(rescale.scale, initial=1),
        clipped=jnp.sum(rescale.clipped) / max(rescale.clipped.size, 1),
    )
    each = iter(entries(rescale, rescale.clipped.size))
    new_updates = map_inexact(lambda leaf: next(each)(leaf), updates)
    norms = lax.stop_gradient(measured.norms)
    reached = jnp.where(rescale.clipped, limits, 0)
    reached *= jnp.where(warm, 1, lax.stop_gradient(_shares(measured)))
    after = bounded(jnp.where(rescale.clipped, reached, norms), dtype)
    _, counts = counted_norm(total, dtype)
    return new_updates, ClipByLeafAverageNormState(
        record,
        increment(state.counted, counts & ~warm),
        _next_averages(state.averages, after, counts, warm, decay),
        state.leaf_record._replace(norms=norms.astype(dtype)),
    )


def _judged(measured: LeafNorms, warm: jax.Array) -> TreeNorm:
    """The norm that each leaf is clipped by, [leaves].

    Its own; in the warm-up that of all, and also if that is not finite, as no leaf is
    clipped then.
    """
    total = measured.total
    own = warm & total.finite
    return TreeNorm(
        root=jnp.where(own, measured.roots, total.root),
        lift=jnp.where(own, measured.lifts, total.lift),
        first_bad_leaf=total.first_bad_leaf,
    )


def _shares(measured: LeafNorms) -> jax.Array:
    """The norm of each leaf over that of all, [leaves]; 0 below the least number."""
    total = measured.total
    unit = jnp.where(total.root > 0, total.root, 1)
    return measured.roots * (total.lift / measured.lifts) / unit


def _next_averages(
    averages: jax.Array,
    norms: jax.Array,
    counts: jax.Array,
    warm: jax.Array,
    decay: jax.typing.ArrayLike,
) -> jax.Array:
    """The averages with the norms of one clipped gradient in them."""
    beta = jnp.asarray(decay).astype(averages.dtype)
    # A norm too small to be kept says as little as a zero.
    counts &= norms >= jnp.finfo(averages.dtype).tiny
    later = jnp.where(
        warm, next_mean(averages, norms, beta), jnp.minimum(averages, norms)
    )
    later = jnp.where(averages > 0, later, norms)
    return jnp.where(counts, lax.stop_gradient(later), averages)
