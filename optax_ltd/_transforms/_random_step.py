"""A step of given length in a random direction, laid out as a gradient is.

Two directions are offered. `"signs"` gives each of the N real entries the size
``length / sqrt(N)`` and a random sign: the norm is right by construction and one
random bit per entry is enough, drawn only when the step is taken (under `jax.vmap`,
where both branches of a condition run, always). `"sphere"` is
uniform over the sphere; it needs a normal number per entry, and takes longer to compile
and to run ("Random bits" in `benchmarks/README.md`).

What is drawn has the shape of the leaves, those of one shape stacked. So on many
devices each draws its own part, whatever the axis that is divided.
"""

import functools
import math
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from optax_ltd._numerics.dtypes import is_inexact, real_dtype
from optax_ltd._numerics.layouts import laid_out, layout
from optax_ltd._numerics.shards import (
    Axes,
    shard_count,
    shard_key,
    split_axes,
    sum_over_shards,
)
from optax_ltd._numerics.tree_norm import entry_count
from optax_ltd._transforms._key import typed_key

Direction: TypeAlias = Literal["signs", "sphere"]

_WORD = 32


class _Group(NamedTuple):
    """Leaves whose numbers are drawn together.

    Attributes:
      shape: of the real numbers of one leaf; a complex one has two rows of them.
      dtype: of these numbers.
      split: the axes along which the leaves are parts.
      size: how many leaves there are.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    split: Axes
    size: int = 0


def random_step(
    key: jax.Array,
    count: jax.Array,
    like: Any,
    length: Any,
    *,
    needed: jax.Array,
    direction: Direction,
    axes: Axes = (),
) -> list[jax.Array | None]:
    """Draws a random step, or something cheap in its place when none is needed.

    Args:
      key: two words of uint32.
      count: number of this step; each has a direction of its own.
      like: the gradient whose leaves the step is laid out as.
      length: norm of the step.
      needed: whether the step will be used. If not, no number is drawn, except
        under `jax.vmap`, and the result has the right shapes and no meaning.
      direction: `"signs"` or `"sphere"`.
      axes: the axes along which the leaves may be split. The length is then that of
        all parts together, and each part has a direction of its own.

    Returns:
      One array per leaf of `like`, `None` where the leaf is integer.
    """
    leaves = jax.tree.leaves(like)
    inexact = [i for i, leaf in enumerate(leaves) if is_inexact(leaf)]
    drawn = [jnp.asarray(leaves[i]) for i in inexact]
    step_key = jax.random.fold_in(typed_key(key), count)
    draw = _signs if direction == "signs" else _sphere
    steps: list[jax.Array | None] = [None] * len(leaves)
    if drawn:
        if isinstance(length, int | float):
            widest = jnp.result_type(*(real_dtype(leaf.dtype) for leaf in drawn))
            length = min(length, float(jnp.finfo(widest).max))
        draw = functools.partial(draw, drawn, axes)
        draw = laid_out(draw, drawn, [layout(leaf) for leaf in drawn])
        for i, step in zip(inexact, draw(step_key, length, needed), strict=True):
            steps[i] = step
    return steps


# Jitted, so that an update outside `jit` compiles it once, not operation by operation.
@functools.partial(jax.jit, static_argnums=1)
def _signs(
    leaves: list[jax.Array],
    axes: Axes,
    key: jax.Array,
    length: Any,
    needed: jax.Array,
) -> list[jax.Array]:
    """Signs times ``length / sqrt(N)``; a part of whatever loop reads them."""
    groups, places = _grouped(leaves, axes)
    stacks, indices = _words(groups, key, needed)
    entries = sum(entry_count(leaf) * shard_count(leaf, axes) for leaf in leaves)
    inverse_root = 1 / math.sqrt(max(entries, 1))
    steps = []
    for leaf, (group, i) in zip(leaves, places, strict=True):
        entry = jnp.asarray(length, real_dtype(leaf.dtype)) * inverse_root
        entry = _reachable(entry, leaf)
        words = lax.dynamic_index_in_dim(stacks[group], indices[i], keepdims=False)
        bits = _unpack(words, groups[group].shape)
        steps.append(_combined(jnp.where(bits, entry, -entry), leaf))
    return steps


def _words(
    groups: tuple[_Group, ...], key: jax.Array, needed: jax.Array
) -> tuple[list[jax.Array], list[jax.Array]]:
    """One random bit per entry, and the numbers 0, 1, ... up to the largest group.

    With these known only at run time, the loops that read the leaves of one shape are
    one program. XLA would compile each by itself if it met 0, 1, ... as constants.
    """
    shapes = [(group.size, *_packed(group.shape)) for group in groups]
    keys = _group_keys(groups, key)
    indices = range(max(group.size for group in groups))

    def draw() -> tuple[list[jax.Array], list[jax.Array]]:
        words = [_bits(k, shape) for k, shape in zip(keys, shapes, strict=True)]
        return words, [jnp.asarray(i, jnp.int32) for i in indices]

    def rest() -> tuple[list[jax.Array], list[jax.Array]]:
        words = [_zeros(*item, jnp.uint32) for item in zip(keys, shapes, strict=True)]
        return words, [jnp.zeros((), jnp.int32) for _ in indices]

    # The branch returns one bit per entry, a thirty-second of the gradient.
    return lax.cond(needed, draw, rest)


def _bits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Random words: a counter that is mixed with the key twice.

    They are good enough for signs and directions, and have fewer rounds to compile than
    those of `jax.random.bits`. After 2^32 of them they repeat.
    """
    # What that saves of a whole step is under "Random bits" in `benchmarks/README.md`.
    first, second = jax.random.key_data(key)
    counter = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        stride = math.prod(shape[axis + 1 :]) % 2**_WORD
        place = lax.broadcasted_iota(jnp.uint32, shape, axis)
        counter += place * jnp.uint32(stride)
    return _mixed(_mixed(counter ^ first) + second)


def _mixed(word: jax.Array) -> jax.Array:
    """A bijection of 32 bits in which each bit of the result hangs on all others."""
    # The constants are Wellons', https://nullprogram.com/blog/2018/07/31/.
    word = (word ^ (word >> 16)) * jnp.uint32(0x7FEB352D)
    word = (word ^ (word >> 15)) * jnp.uint32(0x846CA68B)
    return word ^ (word >> 16)


def _packed(shape: tuple[int, ...]) -> tuple[int, ...]:
    axis = _packed_axis(shape)
    words = [-(-n // _WORD) if i == axis else n for i, n in enumerate(shape)]
    return tuple(words)


def _packed_axis(shape: tuple[int, ...]) -> int:
    """The axis whose entries share words: the first that leaves the fewest unused."""
    filled = [n / (-(-n // _WORD) or 1) for n in shape]
    return filled.index(max(filled)) if shape else 0


def _unpack(words: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    if not shape:
        return (words & 1).astype(bool)
    axis = _packed_axis(shape)
    shifts = jnp.arange(_WORD, dtype=jnp.uint32)
    shifts = shifts.reshape(_WORD, *[1] * (len(shape) - axis - 1))
    bits = ((jnp.expand_dims(words, axis + 1) >> shifts) & 1).astype(bool)
    count = _WORD * words.shape[axis]  # Not -1, which an empty leaf leaves open.
    bits = bits.reshape(*shape[:axis], count, *shape[axis + 1 :])
    return lax.slice_in_dim(bits, 0, shape[axis], axis=axis)


@functools.partial(jax.jit, static_argnums=1)
def _sphere(
    leaves: list[jax.Array],
    axes: Axes,
    key: jax.Array,
    length: Any,
    needed: jax.Array,
) -> list[jax.Array]:
    """Normal numbers, brought to norm `length`."""
    groups, places = _grouped(leaves, axes)
    stacks, indices, norm = _normals(groups, axes, key, needed)
    factor = length / norm
    steps = []
    for leaf, (group, i) in zip(leaves, places, strict=True):
        normal = lax.dynamic_index_in_dim(stacks[group], indices[i], keepdims=False)
        step = normal * _reachable(factor, normal)
        steps.append(_combined(_reachable(step, leaf), leaf))
    return steps


def _normals(
    groups: tuple[_Group, ...], axes: Axes, key: jax.Array, needed: jax.Array
) -> tuple[list[jax.Array], list[jax.Array], jax.Array]:
    """Normal numbers, the indices that `_words` returns too, and the norm of all."""
    shapes = [(group.size, *group.shape) for group in groups]
    keys = _group_keys(groups, key)
    indices = range(max(group.size for group in groups))

    def draw() -> tuple[list[jax.Array], list[jax.Array], jax.Array]:
        normals = [
            _normal(_bits(k, shape), group.dtype)
            for k, shape, group in zip(keys, shapes, groups, strict=True)
        ]
        squares = [jnp.sum(jnp.square(normal)) for normal in normals]
        norm = jnp.sqrt(sum(sum_over_shards(squares, normals, axes)))
        return normals, [jnp.asarray(i, jnp.int32) for i in indices], norm

    def rest() -> tuple[list[jax.Array], list[jax.Array], jax.Array]:
        rows = zip(keys, shapes, groups, strict=True)
        normals = [_zeros(k, shape, group.dtype) for k, shape, group in rows]
        squares = [_zeros(k, (), g.dtype) for k, g in zip(keys, groups, strict=True)]
        # Not 0: a length is divided by it, and so is the derivative by a threshold.
        norm = jnp.ones_like(sum(sum_over_shards(squares, squares, axes)))
        return normals, [jnp.zeros((), jnp.int32) for _ in indices], norm

    return lax.cond(needed, draw, rest)


def _normal(words: jax.Array, dtype: Any) -> jax.Array:
    """Normal numbers of random words, never 0, so that no norm is."""
    # The odd multiples of 2^-24 between -1 and 1, each as likely as the others.
    odd = (words >> 8).astype(jnp.int32) * 2 + 1 - 2**24
    return math.sqrt(2) * lax.erf_inv(odd.astype(dtype) * 2.0**-24)


def _grouped(
    leaves: list[jax.Array], axes: Axes
) -> tuple[tuple[_Group, ...], list[tuple[int, int]]]:
    """The groups of the leaves, and each leaf's group and place in it."""
    sizes: dict[_Group, int] = {}
    places = []
    for leaf in leaves:
        shape = (2, *leaf.shape) if jnp.iscomplexobj(leaf) else leaf.shape
        group = _Group(shape, real_dtype(leaf.dtype), split_axes(leaf, axes))
        place = sizes.setdefault(group, 0)
        places.append((list(sizes).index(group), place))
        sizes[group] += 1
    return tuple(group._replace(size=n) for group, n in sizes.items()), places


def _group_keys(groups: tuple[_Group, ...], key: jax.Array) -> list[jax.Array]:
    keys = jax.random.split(key, len(groups))
    return [shard_key(k, group.split) for k, group in zip(keys, groups, strict=True)]


def _zeros(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Zeros that vary over the axes of `jax.shard_map` as what the key draws."""
    return jnp.zeros_like(jax.random.key_data(key)[0], dtype, shape)


def _reachable(entries: Any, leaf: jax.Array) -> jax.Array:
    """A step too long for the leaf's dtype goes as far as that reaches."""
    farthest = jnp.asarray(jnp.finfo(leaf.dtype).max, real_dtype(leaf.dtype))
    return jnp.clip(entries, -farthest, farthest)


def _combined(entries: jax.Array, leaf: jax.Array) -> jax.Array:
    if jnp.iscomplexobj(leaf):
        entries = lax.complex(entries[0], entries[1])
    return entries.astype(leaf.dtype)
