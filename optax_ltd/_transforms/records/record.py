"""What a transformation remembers of the gradients it has seen."""

import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_ltd._numerics.tree_norm import TreeNorm
from optax_ltd._transforms.records.window import empty_window, push

RECENT = 64  # How many gradients the windows of a record span.


class GradientRecord(NamedTuple):
    """What is known of the gradients that reached one transformation.

    Scalars, and two windows of fixed size, in which -1 marks an unused place.

    Attributes:
      norm: norm of the last gradient, before anything was done to it.
      scale: factor by which the last gradient was multiplied: 1 if it passed, 0 if
        something else took its place.
      total_count: gradients seen.
      clipped_count: finite gradients that were above the threshold, all or in part.
      nonfinite_count: gradients with an Inf or a NaN anywhere.
      nan_count: those of them with a NaN; the others have an Inf and no NaN.
      nonfinite_run: how many of these came last, without a finite one after them.
      first_bad_leaf: index of the first leaf with an Inf or a NaN in the last
        gradient that had one, as `jax.tree.leaves` counts; -1 if none ever had.
      first_bad_path: checksum of that leaf's path, which stays the same when a
        mask hides some of the leaves; 0 if there is none.
      last_bad_update: number of the update that brought that gradient, counted from
        0; -1 if there is none.
      longest_nonfinite_run: the largest `nonfinite_run` so far.
      recent_norms: norms of the last `RECENT` finite gradients, the newest last.
      recent_clips: 1 for each of these that was clipped and 0 for the others; of a
        gradient that is clipped in parts, their share.
    """

    norm: jax.Array
    scale: jax.Array
    total_count: jax.Array
    clipped_count: jax.Array
    nonfinite_count: jax.Array
    nan_count: jax.Array
    nonfinite_run: jax.Array
    first_bad_leaf: jax.Array
    first_bad_path: jax.Array
    last_bad_update: jax.Array
    longest_nonfinite_run: jax.Array
    recent_norms: jax.Array
    recent_clips: jax.Array


def init_record() -> GradientRecord:
    """A record of nothing. Every array is a fresh one, so each may be donated."""
    return GradientRecord(
        norm=jnp.zeros((), float),
        scale=jnp.ones((), float),
        total_count=jnp.zeros((), jnp.int32),
        clipped_count=jnp.zeros((), jnp.int32),
        nonfinite_count=jnp.zeros((), jnp.int32),
        nan_count=jnp.zeros((), jnp.int32),
        nonfinite_run=jnp.zeros((), jnp.int32),
        first_bad_leaf=jnp.full((), -1, jnp.int32),
        first_bad_path=jnp.zeros((), jnp.uint32),
        last_bad_update=jnp.full((), -1, jnp.int32),
        longest_nonfinite_run=jnp.zeros((), jnp.int32),
        recent_norms=empty_window(RECENT),
        recent_clips=empty_window(RECENT),
    )


def update_record(
    record: GradientRecord,
    updates: Any,
    measured: TreeNorm,
    *,
    scale: jax.Array,
    clipped: jax.Array,
) -> GradientRecord:
    """Adds one gradient to a record, keeping the dtype of every field.

    Args:
      record: the record so far.
      updates: the gradient as it came; only its paths are used.
      measured: its norm.
      scale: the factor that was applied to it.
      clipped: whether it was above the threshold, or which share of it.

    Returns:
      The new record.
    """
    bad = ~measured.finite
    run = jnp.where(bad, increment(record.nonfinite_run), 0)
    checksums = [path_checksum(path) for path in leaf_paths(updates)]
    # Index -1 wraps round to the last entry, which stands for "none".
    table = jnp.asarray([*checksums, 0], jnp.uint32)
    new = GradientRecord(
        norm=measured.norm,
        scale=scale,
        total_count=increment(record.total_count),
        clipped_count=increment(record.clipped_count, clipped > 0),
        nonfinite_count=increment(record.nonfinite_count, bad),
        # Squares are added, so that no two Infs make a NaN.
        nan_count=increment(record.nan_count, jnp.isnan(measured.root)),
        nonfinite_run=run,
        first_bad_leaf=jnp.where(bad, measured.first_bad_leaf, record.first_bad_leaf),
        first_bad_path=jnp.where(
            bad, table[measured.first_bad_leaf], record.first_bad_path
        ),
        last_bad_update=jnp.where(bad, record.total_count, record.last_bad_update),
        longest_nonfinite_run=jnp.maximum(run, record.longest_nonfinite_run),
        recent_norms=push(record.recent_norms, measured.norm, ~bad),
        recent_clips=push(record.recent_clips, clipped, ~bad),
    )
    # Metrics are no path for gradients: a loss that reads them is not meant.
    return GradientRecord(
        *(
            jax.lax.stop_gradient(value).astype(old.dtype)
            for value, old in zip(new, record, strict=True)
        )
    )


def leaf_paths(tree: Any) -> list[tuple[Any, ...]]:
    """Lists the paths of a tree's leaves, without the field of a box around an array.

    Flax keeps an array in a box at times, a Variable or a Partitioned, whose field
    `value` is a step of the path. A parameter that is called `value` is no box.

    Args:
      tree: any tree.

    Returns:
      One path per leaf, in the order of `jax.tree.leaves`.
    """
    # By path and not as leaves: a box may hold none, as under a mask, or several.
    boxes = {
        path
        for path, node in jax.tree.leaves_with_path(tree, is_leaf=_is_box)
        if _is_box(node)
    }
    paths = [path for path, _ in jax.tree.leaves_with_path(tree)]
    return [path[:-1] if path[:-1] in boxes else path for path in paths]


def path_checksum(path: tuple[Any, ...]) -> int:
    """A number for a leaf's path, whatever kind of container it runs through.

    The same leaf is met under different paths: a module's attribute here, a key of
    its state dictionary there. The names along the path are what they share.

    Args:
      path: a path as `leaf_paths` gives it.

    Returns:
      An unsigned 32-bit integer.
    """
    return zlib.crc32("\x00".join(map(key_name, path)).encode())


def _is_box(node: Any) -> bool:
    # Told by what all of Flax's boxes can do, as Flax is not imported here.
    return hasattr(type(node), "add_axis") and hasattr(type(node), "remove_axis")


def key_name(key: Any) -> str:
    """The name that a step of a path has in any kind of container."""
    for attribute in ("name", "key", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def increment(count: jax.Array, by: jax.Array | bool = True) -> jax.Array:
    """One more if `by`; a count that reaches the end of its dtype stays there."""
    room = count < jnp.iinfo(count.dtype).max
    return jnp.where(room & by, count + 1, count)
