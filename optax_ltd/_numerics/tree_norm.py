"""Norms and finiteness of whole trees, safe at both ends of the number line.

A sum of squares leaves the range of its dtype long before the norm does: in
float32 it overflows for norms above 1.8e19 and vanishes for norms below 1e-19.
Here the plain sum is formed first, as everywhere else. Only when it cannot be
trusted does the rare branch of a scalar `lax.cond` run a second pass over the
tree, lifted into range by a power of two. `jax.vmap` turns the `cond` into a
select, so that each member of an ensemble pays for both passes.

A GPU would hand the condition to the host and wait. There the plain sum and those
lifted up and down are formed alike, of one reading of each leaf where XLA fuses them,
and one is selected.
"""

import functools
import math
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from optax_ltd._numerics.dtypes import is_inexact, real_dtype
from optax_ltd._numerics.platforms import unless_on_gpu
from optax_ltd._numerics.shards import (
    Axes,
    AxisName,
    check_axis_name,
    shard_count,
    sum_over_shards,
)

ArrayTree: TypeAlias = Any
_Leaves: TypeAlias = tuple[jax.Array, ...]
_Measured: TypeAlias = tuple[jax.Array, ...]  # sum of squares, lift, first bad leaf


class TreeNorm(NamedTuple):
    """The L2 norm of a tree, kept as two factors so that it always fits.

    The norm is ``root / lift``. A norm near the end of its dtype's range has a
    root of moderate size, so that a caller can form ``(x * lift) * (v / root)``
    where ``x * (v / norm)`` would overflow or vanish on the way.

    Attributes:
      root: L2 norm of ``lift * tree``, in at least float32. NaN exactly when an
        entry of the tree is NaN, and Inf when one is Inf and none NaN.
      lift: a power of two; 1 unless the plain sum of squares left its range.
      first_bad_leaf: index, among all the leaves of the tree, of the first one
        with an Inf or a NaN; -1 when there is none.
    """

    root: jax.Array
    lift: jax.Array
    first_bad_leaf: jax.Array

    @property
    def norm(self) -> jax.Array:
        """The norm itself; Inf if it exceeds the largest number of its dtype."""
        return self.root / self.lift

    @property
    def finite(self) -> jax.Array:
        """Whether every entry of the tree is finite."""
        return jnp.isfinite(self.root)


def tree_norm(tree: ArrayTree, axes: Axes = ()) -> TreeNorm:
    r"""Measures the norm of a tree and whether it is finite, in one pass.

    Args:
      tree: a tree of arrays. Integer, bool and float0 leaves are ignored; `None`
        and other empty nodes have no leaves.
      axes: the axes along which the leaves may be split, as in `global_norm`.

    Returns:
      The norm as a `TreeNorm`. Its derivative is that of the norm, and zero at
      the zero tree.
    """
    leaves = jax.tree.leaves(tree)
    inexact = [i for i, leaf in enumerate(leaves) if is_inexact(leaf)]
    if not inexact:
        one = jnp.ones((), jnp.float32)
        return TreeNorm(jnp.zeros_like(one), one, jnp.full((), -1, jnp.int32))
    arrays = tuple(jnp.asarray(leaves[i]) for i in inexact)
    root, lift, position = _lifted_norm(axes, arrays)
    # Position -1 wraps round to the last entry, which stands for "none".
    indices = jnp.asarray([*inexact, -1], jnp.int32)
    return TreeNorm(root, lax.stop_gradient(lift), indices[position])


def global_norm(tree: ArrayTree, *, axis_name: AxisName = None) -> jax.Array:
    r"""The L2 norm of all entries of a tree, which neither overflows nor vanishes.

    .. math:: \|x\| = \Big(\sum_i |x_i|^2\Big)^{1/2}

    accumulated in at least float32. Where the sum of squares leaves its range
    though the norm does not, it is formed anew from entries multiplied by a power
    of two. Only that case pays for the second pass, but under `jax.vmap`, which runs
    both branches of a condition, every call does.

    Args:
      tree: a tree of arrays, real or complex, of any mix of dtypes. Integer, bool
        and float0 leaves, `None` and `optax.MaskedNode` count for nothing.
      axis_name: inside `jax.shard_map`, `jax.pmap` or `jax.vmap`, the axis or axes
        along which the leaves are split; the norm is that of all parts together. A
        leaf that `shard_map` knows to be the same all along an axis counts once;
        under ``check_vma=False``, `pmap` and `vmap` every leaf counts as a part.

    Returns:
      A scalar, float32 or the widest real dtype of the tree. 0 for an empty tree;
      Inf or NaN if an entry is, and Inf if the norm exceeds the largest number of
      its dtype. The derivative at the zero tree is zero.

    Raises:
      ValueError: `axis_name` is neither a string, a tuple of strings, nor `None`.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> print(ltd.global_norm({"w": jnp.array([300, 400], jnp.float16)}))
      500.0
      >>> print(ltd.global_norm(jnp.array([3e20, 4e20])))
      5e+20

    References:
      Blue, *A portable Fortran program to find the Euclidean norm of a vector*,
      ACM TOMS 4(1), 1978.
    """
    return tree_norm(tree, check_axis_name(axis_name)).norm


def sum_of_squares(leaf: jax.Array, lift: jax.Array | None, dtype: Any) -> jax.Array:
    """The sum of |lift * x|² over a leaf, formed in `dtype`; of |x|² without a lift."""
    parts = (leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else (leaf,)
    wide = [part.astype(dtype) for part in parts]
    if lift is not None:
        wide = [part * lift for part in wide]
    return sum((jnp.sum(jnp.square(part)) for part in wide), jnp.zeros((), dtype))


def accumulation_dtype(leaves: _Leaves) -> np.dtype:
    """The dtype that squares of these leaves are added in."""
    return jnp.result_type(*(real_dtype(leaf.dtype) for leaf in leaves))


def lifts(dtype: Any) -> tuple[float, float]:
    """What brings small entries up and large ones down, so that squares fit."""
    exponent = int(jnp.finfo(dtype).maxexp)
    return 2.0 ** (3 * exponent // 4), 2.0 ** (-3 * exponent // 4)


def vanishing(dtype: Any, entries: int) -> float:
    """Below which sum of so many squares some of them may have been lost."""
    info = jnp.finfo(dtype)
    # Squares below `tiny` are lost. They matter once all of them together could
    # reach the last digit of the sum; the cap keeps the lifted sum in range.
    cap = 2.0 ** (-int(info.maxexp) // 2 - 2)
    return min(float(info.tiny) / float(info.eps) * entries, cap)


# Jitted, so that an update outside `jit` compiles the `cond` once, not every time.
@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
@functools.partial(jax.jit, static_argnums=0)
def _lifted_norm(axes: Axes, leaves: _Leaves) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns root, lift and the position of the first bad leaf (or -1)."""
    dtype = accumulation_dtype(leaves)
    entries = sum(leaf.size * shard_count(leaf, axes) for leaf in leaves)
    least = vanishing(dtype, entries)
    up, down = lifts(dtype)
    zero = jnp.zeros((), dtype)

    def sums_of_squares(leaves: _Leaves, lift: jax.Array | None) -> list[jax.Array]:
        sums = [sum_of_squares(leaf, lift, dtype) for leaf in leaves]
        return sum_over_shards(sums, leaves, axes)

    # Over all shards before it is judged, so that they take the same branch.
    total = sum(sums_of_squares(leaves, None), zero)

    trusted = (total >= least) & jnp.isfinite(total)
    # Of the type of the total: inside `jax.shard_map` it may vary over an axis.
    plain = total, jnp.ones_like(total), jnp.full_like(total, -1, jnp.int32)

    def lifted(leaves: _Leaves, lift: jax.Array) -> _Measured:
        sums = jnp.stack(sums_of_squares(leaves, lift))
        bad = ~jnp.isfinite(sums)
        first = jnp.where(jnp.any(bad), jnp.argmax(bad), -1).astype(jnp.int32)
        return jnp.sum(sums), lift, first

    def rarely(leaves: _Leaves) -> _Measured:
        lift = jnp.where(total < least, up, down).astype(dtype)
        # Both branches return scalars: one that returned the tree would copy it.
        return lax.cond(trusted, lambda _: plain, lambda x: lifted(x, lift), leaves)

    def at_once(leaves: _Leaves) -> _Measured:
        ends = [lifted(leaves, jnp.full_like(total, lift)) for lift in (up, down)]
        return tuple(
            jnp.where(trusted, x, jnp.where(total < least, high, low))
            for x, high, low in zip(plain, *ends, strict=True)
        )

    # A GPU waits for the host at a condition, but not for two more products a number.
    square, lift, first = unless_on_gpu(rarely, at_once, leaves)
    return jnp.sqrt(square), lift, first


@_lifted_norm.defjvp
def _lifted_norm_jvp(axes: Axes, primals: Any, tangents: Any) -> Any:
    (leaves,), (dots,) = primals, tangents
    root, lift, first = _lifted_norm(axes, leaves)
    dtype = root.dtype
    # d‖x‖ = <x, dx> / ‖x‖, and 0 where x = 0.
    unit = 1 / jnp.where(root == 0, jnp.ones_like(root), root)

    def inner(leaf: jax.Array, dot: jax.Array) -> jax.Array:
        if jnp.iscomplexobj(leaf):
            return inner(leaf.real, dot.real) + inner(leaf.imag, dot.imag)
        direction = leaf.astype(dtype) * lift * unit
        return jnp.sum(direction * (dot.astype(dtype) * lift))

    products = sum_over_shards([*map(inner, leaves, dots)], leaves, axes)
    root_dot = sum(products, start=jnp.zeros((), dtype))
    first_dot = jax.custom_derivatives.zero_from_primal(first)
    return (root, lift, first), (root_dot, jnp.zeros_like(lift), first_dot)


def entry_count(tree: ArrayTree) -> int:
    """How many real numbers the inexact leaves hold; a complex entry holds two."""
    return sum(
        math.prod(jnp.shape(leaf)) * (2 if jnp.iscomplexobj(leaf) else 1)
        for leaf in jax.tree.leaves(tree)
        if is_inexact(leaf)
    )
