"""Read what the transformations of a chain have recorded."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import jax

from optax_ltd._numerics.checks import check_bool
from optax_ltd._transforms.records.leaf_record import LeafRecord, leaf_keys
from optax_ltd._transforms.records.record import GradientRecord
from optax_ltd._transforms.records.skips import SkipRecord
from optax_ltd._transforms.records.window import window_mean, window_percentile

# A checksum tells a reader nothing, and the windows are summed up.
_HIDDEN = ("first_bad_path", "recent_norms", "recent_clips", "max_consecutive")
_PERCENTILES = (50, 90, 99)


def metrics(opt_state: Any, *, leaf_norms: bool = False) -> dict[str, jax.Array]:
    """Collects what every transformation of this package recorded.

    The states are found wherever they sit: in `optax.chain`, under
    `optax.inject_hyperparams`, `optax.masked`, `optax.MultiSteps` or another
    wrapper, in `flax.nnx.Optimizer.opt_state`. The state holds nearly all of it ready
    to be read; inside a jitted training step the rest, percentiles of a few dozen
    numbers, costs next to nothing.

    A name reads ``"clip_or_random_step/norm"``. The second transformation of a
    kind is ``"clip_or_random_step_2"``, in the order of the chain. The labels of
    `optax.multi_transform` and the names of `optax.named_chain` come in front, as
    in ``"encoder/clip_by_global_norm/norm"``. For each transformation:

    - `norm`: norm of the last gradient, before anything was done to it (for
      `clip_by_value` its largest absolute entry, for `clip_per_example` the median
      of the examples' norms). Inf or NaN if the gradient was.
    - `scale`: factor by which the last gradient was multiplied: 1 if it passed,
      0 if something took its place (for `clip_by_value` the smallest factor that
      any entry met, for `clip_by_leaf_average_norm` that any leaf met, for
      `clip_per_example` the mean of the examples' factors).
    - `total_count`, `clipped_count`, `nonfinite_count`: how many gradients came,
      how many were finite and above the threshold, how many were not finite. For
      `clip_per_example` a batch is one gradient, above the threshold if any example
      is, and for `clip_by_leaf_average_norm` a gradient is if any leaf is; `skip_steps`
      counts as clipped what it skipped though it was finite.
    - `nan_count`, `inf_count`: how many of those that were not finite had a NaN, and
      how many had an Inf and no NaN.
    - `nonfinite_run`: how many non-finite ones came last, in a row.
    - `first_bad_leaf`: index, as `jax.tree.leaves` counts, of the first leaf with
      an Inf or a NaN in the last gradient that had one; -1 if none ever had.
      `raise_if_diverged` turns it into a name.
    - `last_bad_update`: number of the update that brought that gradient, counted from
      0, by which to find its batch; -1 if none ever did.
    - `longest_nonfinite_run`: the largest `nonfinite_run` so far.
    - `clipped_share`: which share of the last 64 finite gradients was above the
      threshold; of all of them while they are fewer, and 0 before the first. For
      `clip_per_example` it is the share of the examples, for
      `clip_by_leaf_average_norm` that of the leaves.
    - `norm_p50`, `norm_p90`, `norm_p99`: percentiles of the norms of the same
      gradients; 0 before the first. Of two norms that a percentile lies between it is
      the lower, so that of 64 norms `norm_p99` is the second largest: one outlier
      moves each by one rank at most. A finite gradient whose norm exceeds the
      largest number of its dtype has that number here.

    And for `skip_steps`, whose inner transformations come after it:

    - `skipped_nonfinite`, `skipped_max_norm`, `skipped_norm_zscore`,
      `skipped_loss_zscore`: how many steps were skipped for each cause. A step counts
      under the first that it has.
    - `skipped_run`: how many skipped ones came last, in a row.
    - `last_skipped_update`: number of the last update that was skipped, counted from 0,
      by which to find its batch; -1 if none was.
    - `skipped_count`: how many were skipped.

    And for `hessian_free`, where `scale` is the factor of the line search, 0 without a
    step, and `clipped_count` counts steps that were refused though the gradient was
    finite:

    - `damping`: λ that the next update begins with.
    - `reduction_ratio`: how much of the reduction that the model predicted came true.
    - `cg_iterations`, `loss_evaluations`: how many the last update took.
    - `negative_curvature_count`: updates that met a direction of curvature zero or
      below.
    - `refused_nonfinite`, `refused_no_decrease`: updates without a step because the
      gradient, the loss or a product was not finite, or because no step lowered the
      loss.
    - `damping_held_count`: updates that would have led λ out of its range.

    And with `leaf_norms`, for `clip_by_leaf_average_norm`, which keeps them:

    - `leaf_norm/encoder/kernel`: norm of the last gradient's leaf of that path, before
      anything was done to it, for every floating leaf; Inf or NaN if the leaf was, 0
      before the first gradient. They tell which layer explodes.

    Args:
      opt_state: the state of an optimiser.
      leaf_norms: whether to add the norm of each leaf.

    Returns:
      A flat dictionary of scalars; with a leading axis if the states were made by
      `jax.vmap`.

    Raises:
      ValueError: nothing in `opt_state` records gradients. Where the optimiser shall
        change none, `clip_by_global_norm(float("inf"))` records them all the same. Or
        `leaf_norms` is no bool, or is True and nothing keeps them; one that does so
        and clips nothing is
        ``clip_by_leaf_average_norm(float("inf"), max_norm=float("inf"))``.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_ltd as ltd
      >>> tx = optax.chain(ltd.clip_by_global_norm(1.0), optax.sgd(0.1))
      >>> params = jnp.zeros(2)
      >>> _, state = tx.update(jnp.array([3.0, 4.0]), tx.init(params), params)
      >>> for name, value in ltd.metrics(state).items():
      ...     print(name, round(value.item(), 3))
      clip_by_global_norm/norm 5.0
      clip_by_global_norm/scale 0.2
      clip_by_global_norm/total_count 1
      clip_by_global_norm/clipped_count 1
      clip_by_global_norm/nonfinite_count 0
      clip_by_global_norm/nan_count 0
      clip_by_global_norm/nonfinite_run 0
      clip_by_global_norm/first_bad_leaf -1
      clip_by_global_norm/last_bad_update -1
      clip_by_global_norm/longest_nonfinite_run 0
      clip_by_global_norm/clipped_share 1.0
      clip_by_global_norm/inf_count 0
      clip_by_global_norm/norm_p50 5.0
      clip_by_global_norm/norm_p90 5.0
      clip_by_global_norm/norm_p99 5.0
    """
    leaf_norms = check_bool("leaf_norms", leaf_norms)
    states = _named_states(opt_state)
    found = {
        f"{name}/{field}": value
        for name, node in states
        for _, record, skips in [_records_of((name, node))]
        for field, value in (_seen(record) | _skipped(skips) | _searched(node)).items()
    }
    if leaf_norms:
        keeping = [pair for pair in states if hasattr(pair[1], "leaf_record")]
        if not keeping:
            raise ValueError(
                "`opt_state` must hold the state of `clip_by_leaf_average_norm` where "
                f"`leaf_norms` is True; got a {type(opt_state).__name__} without one. "
                "With `multiple` and `max_norm` at `inf` it clips nothing."
            )
        for name, node in keeping:
            found |= _of_leaves(name, node.leaf_record)
    return found


def records(opt_state: Any) -> list[tuple[str, GradientRecord, SkipRecord | None]]:
    """Finds every record in an optimiser's state.

    The state of each transformation holds its record in a field `record`, and its
    class is named for the transformation. One that skips steps holds another in a
    field `skips`, and the state of what it goes around in `inner_state`.

    Args:
      opt_state: the state of an optimiser.

    Returns:
      Unique names and records, in the order of the chain.

    Raises:
      ValueError: there is none.
    """
    return [*map(_records_of, _named_states(opt_state))]


def _named_states(opt_state: Any) -> list[tuple[str, Any]]:
    """The states that hold a record, each with a name of its own."""
    labelled = [("/".join([*on, _name(type(x))]), x) for on, x in _states(opt_state)]
    if not labelled:
        raise ValueError(
            "`opt_state` must hold the state of a transformation of optax_ltd, such "
            f"as `clip_or_random_step`; got a {type(opt_state).__name__} without one."
        )
    names, states = zip(*labelled, strict=True)
    return [*zip(_unique(names), states, strict=True)]


def _unique(names: Iterable[str]) -> Iterator[str]:
    """The names, the second of a kind with a 2 behind it."""
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name}_{seen[name]}"


def _records_of(
    named: tuple[str, Any],
) -> tuple[str, GradientRecord, SkipRecord | None]:
    name, node = named
    # A field may be wrapped, as Flax wraps every array of an optimiser's state in a
    # Variable; the array within is its only leaf.
    record = GradientRecord(*jax.tree.leaves(node.record))
    skips = getattr(node, "skips", None)
    skips = None if skips is None else SkipRecord(*jax.tree.leaves(skips))
    return name, record, skips


def _of_leaves(name: str, record: LeafRecord) -> dict[str, jax.Array]:
    """The norm of each leaf by its path."""
    (norms,) = jax.tree.leaves(record)
    keys = ["/".join([name, "leaf_norm", *path]) for path in leaf_keys(record)]
    return {key: norms[..., i] for i, key in enumerate(_unique(keys))}


def _states(tree: Any, labels: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """The states that hold a record, each with the labels on the way to it."""
    for path, node in jax.tree.leaves_with_path(tree, is_leaf=_holds_record):
        if _holds_record(node):
            keys = [k.key for k in path if isinstance(k, jax.tree_util.DictKey)]
            inside = (*labels, *map(str, keys))
            yield inside, node
            yield from _states(getattr(node, "inner_state", None), inside)


def _seen(record: GradientRecord) -> dict[str, jax.Array]:
    return _shown(record) | _summary(record)


def _skipped(skips: SkipRecord | None) -> dict[str, jax.Array]:
    if skips is None:
        return {}
    return _shown(skips) | {"skipped_count": sum(skips.causes[1:], skips.causes[0])}


def _searched(node: Any) -> dict[str, jax.Array]:
    """What a state tells of a search for the step, in a field `search` of scalars."""
    search = getattr(node, "search", None)
    if search is None:
        return {}
    return type(search)(*jax.tree.leaves(search))._asdict()


def _shown(record: GradientRecord | SkipRecord) -> dict[str, jax.Array]:
    return {k: v for k, v in record._asdict().items() if k not in _HIDDEN}


# Jitted, so that outside `jit` it is one call and not dozens.
@jax.jit
def _summary(record: GradientRecord) -> dict[str, jax.Array]:
    """What follows from the rest, in the order in which it is shown."""
    percentiles = {
        f"norm_p{percent}": window_percentile(record.recent_norms, percent)
        for percent in _PERCENTILES
    }
    return {
        "clipped_share": window_mean(record.recent_clips),
        "inf_count": record.nonfinite_count - record.nan_count,
        **percentiles,
    }


def _holds_record(node: Any) -> bool:
    is_state = isinstance(node, tuple)  # Every state is a NamedTuple.
    return is_state and isinstance(getattr(node, "record", None), GradientRecord)


def _name(state: type) -> str:
    """The transformation of a state: clip_by_value for ClipByValueState."""
    words = re.findall("[A-Z][a-z0-9]*", state.__name__.removesuffix("State"))
    return "_".join(words).lower()
