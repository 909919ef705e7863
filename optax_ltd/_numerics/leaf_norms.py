"""Norms of each leaf of a tree, as safe as that of the whole.

All of them are one vector: the work that is not on the leaves themselves is compiled
once, and not once a leaf.
"""

import functools
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from optax_ltd._numerics.dtypes import is_inexact
from optax_ltd._numerics.platforms import unless_on_gpu
from optax_ltd._numerics.shards import Axes, shard_count, sum_over_shards
from optax_ltd._numerics.tree_norm import (
    ArrayTree,
    TreeNorm,
    accumulation_dtype,
    lifts,
    sum_of_squares,
    tree_norm,
    vanishing,
)

_Vectors = TypeVar("_Vectors")


class LeafNorms(NamedTuple):
    """L2 norms of the floating and complex leaves of a tree, in their order.

    Each is ``root / lift``, as in `TreeNorm`.

    Attributes:
      roots: L2 norms of ``lift * leaf``, [leaves], all in one dtype, at least float32.
        NaN where an entry is, and Inf where one is Inf and none NaN.
      lifts: powers of two, [leaves]; 1 unless a sum of squares left its range.
      total: the norm of all leaves together.
    """

    roots: jax.Array
    lifts: jax.Array
    total: TreeNorm

    @property
    def norms(self) -> jax.Array:
        """The norms, [leaves]; Inf where one exceeds the largest of its dtype."""
        return self.roots / self.lifts


def leaf_norms(tree: ArrayTree, axes: Axes = ()) -> LeafNorms:
    """Measures every leaf of a tree in one pass.

    The plain sums of squares are those of `tree_norm`, so that XLA forms them once
    where both are asked for. If one of them cannot be trusted, a second pass over all
    leaves runs. A leaf that is zero is such a case: its sum does not tell whether it
    is, or is only small.

    Args:
      tree: a tree of arrays; integer, bool and float0 leaves are ignored.
      axes: the axes along which the leaves may be split, as in `global_norm`.

    Returns:
      The norms. Their derivative is zero where a leaf is.
    """
    leaves = jax.tree.leaves(tree)
    inexact = [i for i, leaf in enumerate(leaves) if is_inexact(leaf)]
    if not inexact:
        none = jnp.zeros(0, jnp.float32)
        return LeafNorms(none, none, tree_norm(tree))
    arrays = tuple(jnp.asarray(leaves[i]) for i in inexact)
    squares, lift, finite = _lifted_squares(axes, arrays)
    indices = jnp.asarray(inexact, jnp.int32)
    first = jnp.where(finite, -1, indices[jnp.argmax(~jnp.isfinite(squares))])
    root, total_lift = _total(squares, lift)
    return LeafNorms(_sqrt(squares), lift, TreeNorm(root, total_lift, first))


@functools.partial(jax.jit, static_argnums=0)
def _lifted_squares(
    axes: Axes, leaves: tuple[jax.Array, ...]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sums of squares of each leaf times its lift, the lifts, and if all are finite."""
    dtype = accumulation_dtype(leaves)
    sizes = [leaf.size * shard_count(leaf, axes) for leaf in leaves]
    least = np.array([vanishing(dtype, count) for count in sizes], dtype)
    up, down = lifts(dtype)

    def sums(
        leaves: tuple[jax.Array, ...], lift: Sequence[Any]
    ) -> tuple[jax.Array, jax.Array]:
        found = [sum_of_squares(*row, dtype) for row in zip(leaves, lift, strict=True)]
        # Over all shards before they are judged, so that all take the same branch.
        found = sum_over_shards(found, leaves, axes)
        # Were the vector all that they are used for, XLA would form each sum while it
        # writes the vector, which is slow and slow to compile.
        finite = functools.reduce(operator.and_, map(jnp.isfinite, found))
        return jnp.stack(found), finite

    plain, finite = sums(leaves, [None] * len(leaves))
    small = plain <= least  # An empty leaf too: beside others it is as one of zeros.
    trusted = jnp.isfinite(plain) & ~small
    lift = jnp.where(trusted, 1, jnp.where(small, up, down)).astype(dtype)

    def lifted(leaves: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        found, finite = sums(leaves, entries(lift, len(leaves)))
        return jnp.where(trusted, plain, found), finite

    # Both branches return a vector: one that returned the tree would copy it.
    settled = finite & jnp.all(~small | (np.array(sizes) == 0))

    def rarely(leaves: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        return lax.cond(settled, lambda _: (plain, finite), lifted, leaves)

    def at_once(leaves: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        each = [jnp.asarray(lift, dtype) for lift in (up, down)]
        high, low = (sums(leaves, [lift] * len(leaves))[0] for lift in each)
        squares = jnp.where(trusted, plain, jnp.where(small, high, low))
        return squares, jnp.all(jnp.isfinite(squares))

    squares, finite = unless_on_gpu(rarely, at_once, leaves)
    return squares, lax.stop_gradient(lift), finite


def entries(vectors: _Vectors, count: int) -> list[_Vectors]:
    """The entries of some vectors, each to be used on a leaf.

    Args:
      vectors: a tree of arrays, [count].
      count: how many there are.

    Returns:
      Trees of scalars.
    """
    if not count:
        return []
    places = _places(count, jax.tree.leaves(vectors)[0][0] != 0)
    vectors = lax.optimization_barrier(vectors)
    at = functools.partial(lax.dynamic_index_in_dim, keepdims=False)
    return [jax.tree.map(lambda x, i=i: at(x, i), vectors) for i in places]


def _places(count: int, anything: jax.Array) -> Sequence[jax.Array]:
    """The numbers from 0, as ones that XLA does not know while it compiles.

    A place that it knows is a part of the loop over a leaf. It would then compile one
    for each leaf, though most are the same but for that.
    """

    def known() -> list[jax.Array]:
        return [jnp.int32(i) for i in range(count)]

    return lax.platform_dependent(
        # On a CPU barriers are gone by then; what a branch returns is not looked into.
        cpu=lambda: lax.cond(anything, known, known),
        default=lambda: lax.optimization_barrier(known()),
    )


def _total(squares: jax.Array, lift: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Root and lift of all leaves together."""
    # In the lift of the largest leaf. A ratio too small for its dtype belongs to a
    # leaf that is nothing beside another.
    least = jnp.min(lift)
    ratios = least / lift
    shares = squares * ratios * ratios
    # Each share is in range, but their sum may not be.
    spare = 2.0 ** (-int(jnp.finfo(squares.dtype).maxexp) // 2)
    total = jnp.sum(shares)
    over = ~jnp.isfinite(total)
    total = jnp.where(over, jnp.sum(shares * spare), total)
    return _sqrt(total), least * jnp.where(over, spare**0.5, 1)


def _sqrt(square: jax.Array) -> jax.Array:
    # The derivative at zero is zero, not that of a square root.
    some = square != 0
    return jnp.where(some, jnp.sqrt(jnp.where(some, square, 1)), square)
