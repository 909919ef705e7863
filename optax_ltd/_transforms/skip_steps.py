"""Leave a bad step out: no update, and an optimiser that never saw it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_ltd._numerics.checks import (
    check_bool,
    check_nonnegative,
    check_static_count,
    refusal,
)
from optax_ltd._numerics.dtypes import is_inexact, widened
from optax_ltd._numerics.shards import (
    Axes,
    AxisName,
    check_axis_name,
    shard_count,
    sum_over_shards,
)
from optax_ltd._numerics.tree_norm import tree_norm
from optax_ltd._transforms._one_program import in_one_program
from optax_ltd._transforms._rescale import threshold_in
from optax_ltd._transforms._selected_update import selected_update
from optax_ltd._transforms._transformation import transformation
from optax_ltd._transforms.records.accepted import (
    Accepted,
    accept,
    newest_row,
    nothing_accepted,
    stands_out,
)
from optax_ltd._transforms.records.record import (
    GradientRecord,
    init_record,
    update_record,
)
from optax_ltd._transforms.records.skips import SkipRecord, init_skips, update_skips


class SkipStepsState(NamedTuple):
    """State of `skip_steps`.

    Attributes:
      record: what was seen.
      skips: which steps were skipped, by cause.
      accepted: norms and losses of the last accepted steps; `None` without `zscore`.
      inner_state: state of the inner transformation.
    """

    record: GradientRecord
    skips: SkipRecord
    accepted: Accepted | None
    inner_state: Any


def skip_steps(
    inner: optax.GradientTransformation | optax.MultiSteps,
    *,
    nonfinite: bool = True,
    zscore: jax.typing.ArrayLike | None = None,
    max_norm: jax.typing.ArrayLike | None = None,
    window: int = 128,
    warmup: int = 64,
    max_consecutive: int | None = None,
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Skips a step with a bad gradient: no update, and a state that stays as it is.

    To go around a whole optimiser. A step is skipped if

    - an entry of the gradient g is Inf or NaN, or the loss is (`nonfinite`);
    - :math:`\|g\| > v` (`max_norm`);
    - :math:`\|g\| > \mu + z \, (\sigma + 10^{-6} \mu)`, with mean and standard
      deviation of the norms of the last `window` accepted steps (`zscore`);
    - the same holds of the loss, if it is handed over as Optax's optimisers take it,
      ``update(..., value=loss)`` (`zscore`). For :math:`10^{-6}` the precision of its
      dtype is taken where that is coarser, so that equal losses in bfloat16 may be
      followed by the next number. Without `value` the norm alone is judged.

    The update is then zero, and no bit of the inner state changes: moments do not
    decay, and schedules do not move on. A zero gradient, as of
    ``nonfinite_random_step(fallback="zero")``, is no such thing: adam takes a step
    with it. However many bad ones come in a row, none is let through, as one is by
    `optax.apply_if_finite` in the end. `metrics` counts skipped steps by cause, and
    `raise_if_diverged` raises once there are `max_consecutive` in a row.

    Only accepted steps enter the window, so that neither a NaN nor a spike has a part
    in what is judged by it. Hence a level that rises at once and for good is never
    learnt: all later steps are skipped, and `max_consecutive` is how to hear of it.
    Norms of zero do not enter either.

    Warm-up: the z-score skips nothing until `warmup` norms, or losses, have entered.
    A spike among these raises mean and deviation until it has left the window;
    `max_norm` bounds it.

    With `optax.MultiSteps`, put this around it: a bad micro-batch is then left out,
    and the average is that of good ones, over the next micro-batch in its place.
    Inside, it judges the average, and the loss of the last micro-batch; and for a NaN
    it comes too late: Optax clears its sum by a product with 0, so that the NaN stays,
    and every later step is skipped.

    Args:
      inner: the optimiser, any Optax transformation or `optax.MultiSteps`; it is handed
        all extra arguments of `update`.
      nonfinite: whether an Inf or a NaN skips the step. If not, gradients that are not
        finite are left to `inner`.
      zscore: how many standard deviations z above the mean are too far, at least 0,
        such as 6; `None` for no such test.
      max_norm: the largest norm v, at least 0; `None` for any.
      window: accepted steps that the z-score looks back on, an int of at least 2.
      warmup: accepted steps before the first z-score, an int from 2 to `window`. Under
        `optax.inject_hyperparams` name these two, and the next, in `static_args`.
      max_consecutive: after how many skipped steps in a row `raise_if_diverged`
        raises, in place of its `patience`; an int of at least 1, or `None`.
      axis_name: the axis or axes of `jax.shard_map`, `jax.pmap` or `jax.vmap` along
        which the gradient is split; see `global_norm`. The loss is averaged along
        them, so that all parts skip the same steps.

    Returns:
      A `optax.GradientTransformationExtraArgs` with a `SkipStepsState`.

    Raises:
      ValueError: `inner` is no transformation; `nonfinite` is no bool; a number is out
        of its range, NaN or no number; `axis_name` is no name. An array is judged by
        its shape and dtype alone. From `update`: `value` is no real scalar, or the
        state of `inner` changes its structure.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_ltd as ltd
      >>> tx = ltd.skip_steps(optax.adam(0.1), max_consecutive=10)
      >>> params = jnp.zeros(2)
      >>> state = tx.init(params)
      >>> update, state = tx.update(jnp.array([3.0, -4.0]), state, params)
      >>> print(update.round(3))
      [-0.1  0.1]
      >>> update, state = tx.update(jnp.array([jnp.nan, 1.0]), state, params)
      >>> print(update)
      [0. 0.]
      >>> print(state.inner_state[0].count, state.skips.skipped_nonfinite)
      1 1
    """
    inner = _transformation(inner)
    nonfinite = check_bool("nonfinite", nonfinite)
    if zscore is not None:
        zscore = check_nonnegative("zscore", zscore)
    if max_norm is not None:
        max_norm = check_nonnegative("max_norm", max_norm, finite=False)
    window = check_static_count("window", window, at_least=2)
    warmup = check_static_count("warmup", warmup, at_least=2)
    if warmup > window:
        raise refusal("warmup", f"at most `window`, {window}", warmup)
    if max_consecutive is not None:
        max_consecutive = check_static_count(
            "max_consecutive", max_consecutive, at_least=1
        )
    axes = check_axis_name(axis_name)

    def init(params: Any) -> SkipStepsState:
        accepted = None if zscore is None else nothing_accepted(window)
        skips = init_skips(max_consecutive)
        return SkipStepsState(init_record(), skips, accepted, inner.init(params))

    def update(
        updates: Any, state: SkipStepsState, params: Any = None, **extra_args: Any
    ) -> tuple[Any, SkipStepsState]:
        skip, record, skips, accepted = in_one_program(
            _judge,
            updates,
            state[:3],
            _loss(extra_args.get("value"), axes),
            nonfinite=nonfinite,
            zscore=zscore,
            max_norm=max_norm,
            warmup=warmup,
            axes=axes,
        )

        def inner_update(updates: Any) -> tuple[Any, Any]:
            return inner.update(updates, state.inner_state, params, **extra_args)

        updates, inner_state = selected_update(
            skip, inner_update, updates, state.inner_state
        )
        return updates, SkipStepsState(record, skips, accepted, inner_state)

    return transformation(init, update)


def _transformation(inner: Any) -> optax.GradientTransformationExtraArgs:
    if isinstance(inner, optax.MultiSteps):
        return transformation(inner.init, inner.update)
    if not isinstance(inner, optax.GradientTransformation):
        raise refusal("inner", "an Optax transformation", inner)
    return optax.with_extra_args_support(inner)


def _loss(value: Any, axes: Axes) -> jax.Array | None:
    """The loss over all shards, in the floating dtype that it came in."""
    if value is None:
        return None
    loss = jnp.asarray(value)
    if loss.shape != () or jnp.iscomplexobj(loss):
        raise refusal("value", "the loss, a real scalar", value)
    if not is_inexact(loss):
        loss = loss.astype(float)
    (total,) = sum_over_shards([widened(loss)], [loss], axes)
    return (total / shard_count(loss, axes)).astype(loss.dtype)


def _judge(
    updates: Any,
    state: tuple[GradientRecord, SkipRecord, Accepted | None],
    loss: jax.Array | None,
    *,
    nonfinite: bool,
    zscore: jax.typing.ArrayLike | None,
    max_norm: jax.typing.ArrayLike | None,
    warmup: int,
    axes: Axes,
) -> tuple[jax.Array, GradientRecord, SkipRecord, Accepted | None]:
    """Whether the step is skipped, and the state without that of `inner`."""
    record, skips, accepted = state
    measured = tree_norm(updates, axes)
    bad = ~measured.finite
    if loss is not None:
        bad |= ~jnp.isfinite(loss)
    above, *far = [jnp.zeros_like(bad)] * 3
    if max_norm is not None:
        threshold = threshold_in(measured.root.dtype, max_norm)
        above = measured.finite & (measured.root > threshold * measured.lift)
    row = None
    if accepted is not None and zscore is not None:
        row = newest_row(measured, loss, accepted)
        far = list(stands_out(accepted, row, zscore, warmup=warmup))
    causes = (bad & nonfinite, above, *far)
    skip, skips = update_skips(skips, causes, record.total_count)
    if accepted is not None and row is not None:
        accepted = accept(accepted, row, when=~skip)
    scale, clipped = jnp.where(skip, 0, 1), skip & measured.finite
    record = update_record(record, updates, measured, scale=scale, clipped=clipped)
    return skip, record, skips, accepted
