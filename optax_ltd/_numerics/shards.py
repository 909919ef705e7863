"""Leaves that are split along the named axes of `shard_map`, `pmap` or `vmap`.

Inside these a leaf is the part that one device holds. `jax.shard_map` keeps in a leaf's
type along which axes it varies, unless ``check_vma=False``; a leaf that is the same all
along an axis is then known to be whole. Nothing is known under `pmap` and `vmap`, where
every leaf counts as a part.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.core
from jax import lax

from optax_ltd._numerics.checks import refusal

AxisName: TypeAlias = str | tuple[str, ...] | None
Axes: TypeAlias = tuple[str, ...]


def check_axis_name(axis_name: Any) -> Axes:
    """Requires the name of an axis, a tuple of names, or None.

    Args:
      axis_name: what the caller gave.

    Returns:
      The names.

    Raises:
      ValueError: it is anything else.
    """
    names = () if axis_name is None else axis_name
    names = (names,) if isinstance(names, str) else names
    if not isinstance(names, tuple) or not all(isinstance(n, str) for n in names):
        required = "a string, a tuple of strings or None"
        raise refusal("axis_name", required, axis_name)
    return names


def split_axes(leaf: jax.Array, axes: Axes) -> Axes:
    """Those of the axes along which a leaf is a part of something larger."""
    return tuple(
        axis
        for axis in axes
        if axis in _varying(leaf) or axis not in _varying(lax.axis_index(axis))
    )


def varying_axes(leaf: jax.Array) -> Axes:
    """The axes of `shard_map` along which a leaf is known to vary."""
    return tuple(sorted(map(str, _varying(leaf))))


def sum_over_shards(
    sums: list[jax.Array], leaves: Sequence[jax.Array], axes: Axes
) -> list[jax.Array]:
    """Sums of one number a leaf over all parts of that leaf.

    Args:
      sums: one number for each leaf.
      leaves: the leaves, or what is here of them.
      axes: the axes along which they may be split.

    Returns:
      The sums. The number of a leaf that is known to be whole stays as it is.
    """
    return _over_shards(lax.psum, sums, leaves, axes)


def max_over_shards(
    maxima: list[jax.Array], leaves: Sequence[jax.Array], axes: Axes
) -> list[jax.Array]:
    """The same for the largest of some numbers, none of them NaN."""
    return _over_shards(lax.pmax, maxima, leaves, axes)


def mean_over_shards(x: jax.Array, axes: Axes) -> jax.Array:
    """The mean of an array over all parts, where it is one part's own."""
    share = x / shard_count(x, axes)  # first, as a sum may be beyond the dtype
    return sum_over_shards([share], [x], axes)[0]


def _over_shards(
    collective: Callable[..., Any],
    values: list[jax.Array],
    leaves: Sequence[jax.Array],
    axes: Axes,
) -> list[jax.Array]:
    groups: dict[Axes, list[int]] = {}
    for i, leaf in enumerate(leaves):
        groups.setdefault(split_axes(leaf, axes), []).append(i)
    results = list(values)
    for split, members in groups.items():
        if split:
            found = collective([values[i] for i in members], split)
            for i, value in zip(members, found, strict=True):
                results[i] = value
    return results


def shard_count(leaf: jax.Array, axes: Axes) -> int:
    """How many parts a leaf is split into."""
    return math.prod(map(lax.axis_size, split_axes(leaf, axes)))


def shard_key(key: jax.Array, split: Axes) -> jax.Array:
    """A key of each part's own, for leaves that are split along these axes."""
    for axis in split:
        key = jax.random.fold_in(key, lax.axis_index(axis))
    return key


def varying_as(others: Any, x: jax.Array) -> jax.Array:
    """The same array, in a type that varies over all axes of some others.

    A loop wants that of a carry that is the same on all devices at first, and is not
    after a step. Backwards, the parts of its cotangent add up.

    Args:
      others: tree of arrays, or of their types.
      x: an array.
    """
    over = frozenset[Any]().union(*map(_varying, jax.tree.leaves(others)))
    missing = tuple(sorted(over - _varying(x)))
    return lax.pcast(x, missing, to="varying") if missing else x


def _varying(x: Any) -> frozenset[Any]:
    of = x if isinstance(x, jax.core.ShapedArray) else jax.typeof(x)
    return of.manual_axis_type.varying
