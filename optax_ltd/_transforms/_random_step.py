"""A step of given length in a random direction, laid out as a gradient is.

Two directions are offered. `"signs"` gives each of the N real entries the size
``length / sqrt(N)`` and a random sign: the norm is right by construction and one
random bit per entry is enough, drawn only when the step is taken (under `jax.vmap`,
where both branches of a condition run, always). `"sphere"` is
uniform over the sphere; it needs a normal number per entry.
"""

import functools
import math
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from optax_ltd._norms import entry_count, is_inexact, real_dtype, tree_norm
from optax_ltd._transforms._key import typed_key

Direction: TypeAlias = Literal["signs", "sphere"]

DIRECTIONS = ("signs", "sphere")
_WORD = 32


def random_step(
    key: jax.Array,
    count: jax.Array,
    like: Any,
    length: Any,
    *,
    needed: jax.Array,
    direction: Direction,
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
        for i, step in zip(inexact, draw(step_key, drawn, length, needed), strict=True):
            steps[i] = step
    return steps


def _signs(
    key: jax.Array, leaves: list[jax.Array], length: Any, needed: jax.Array
) -> list[jax.Array]:
    """Signs times ``length / sqrt(N)``; a part of whatever loop reads them."""
    sizes = [-(-entry_count(leaf) // _WORD) for leaf in leaves]
    offsets = np.cumsum([0, *sizes])
    words = _words(key, needed, int(offsets[-1]))
    inverse_root = 1 / math.sqrt(max(entry_count(leaves), 1))
    steps = []
    for leaf, start, stop in zip(leaves, offsets[:-1], offsets[1:], strict=True):
        dtype = real_dtype(leaf.dtype)
        entry = jnp.asarray(length, dtype) * inverse_root
        entry = _reachable(entry, leaf)
        bits = _unpack(words[start:stop], entry_count(leaf))
        steps.append(_shaped(jnp.where(bits, entry, -entry), leaf))
    return steps


@functools.partial(jax.jit, static_argnums=2)
def _words(key: jax.Array, needed: jax.Array, count: int) -> jax.Array:
    # The branch returns one bit per entry, a thirty-second of the gradient.
    return lax.cond(
        needed,
        lambda: jax.random.bits(key, (count,), jnp.uint32),
        lambda: jnp.zeros((count,), jnp.uint32),
    )


def _unpack(words: jax.Array, count: int) -> jax.Array:
    shifts = jnp.arange(_WORD, dtype=jnp.uint32)
    return ((words[:, None] >> shifts) & 1).astype(bool).reshape(-1)[:count]


@jax.jit
def _sphere(
    key: jax.Array, leaves: list[jax.Array], length: Any, needed: jax.Array
) -> list[jax.Array]:
    """Normal numbers, brought to norm `length`."""

    def draw() -> list[jax.Array]:
        keys = jax.random.split(key, len(leaves))
        normals = [
            jax.random.normal(k, (entry_count(leaf),), real_dtype(leaf.dtype))
            for k, leaf in zip(keys, leaves, strict=True)
        ]
        norm = tree_norm(normals).norm
        return [
            _shaped(_reachable(normal * _reachable(length / norm, normal), leaf), leaf)
            for normal, leaf in zip(normals, leaves, strict=True)
        ]

    return lax.cond(needed, draw, lambda: [jnp.zeros_like(leaf) for leaf in leaves])


def _reachable(entries: Any, leaf: jax.Array) -> jax.Array:
    """A step too long for the leaf's dtype goes as far as that reaches."""
    farthest = jnp.asarray(jnp.finfo(leaf.dtype).max, real_dtype(leaf.dtype))
    return jnp.clip(entries, -farthest, farthest)


def _shaped(entries: jax.Array, leaf: jax.Array) -> jax.Array:
    if jnp.iscomplexobj(leaf):
        real, imaginary = entries.reshape(2, *leaf.shape)
        return lax.complex(real, imaginary).astype(leaf.dtype)
    return entries.reshape(leaf.shape).astype(leaf.dtype)
