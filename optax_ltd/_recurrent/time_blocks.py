"""Work on all time steps, cut into blocks that fit a CPU's cache."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

_CACHE_BYTES = 2**20
# A block is at least this many times what it adds to, so that adding stays cheap.
_SUMS_PER_BLOCK = 4


def in_blocks(function: Callable[[Any], tuple[Any, Any]], timed: Any) -> Any:
    """``function`` of arrays over time, where it sums one result and maps another.

    On an accelerator all steps are one piece of work. On a CPU large arrays would go
    through memory once for every operation, so blocks of steps are taken in turn.

    Args:
      function: of a tree of ``[steps, ...]``; returns a tree of sums over steps and a
        tree of ``[steps, ...]``.
      timed: tree of ``[T, ...]``.

    Returns:
      What ``function(timed)`` is, up to the order of the sums.
    """
    length = jax.tree.leaves(timed)[0].shape[0]
    sums, _ = jax.eval_shape(function, timed)
    block = _block(length, _bytes(timed) // max(1, length), _bytes(sums))
    if block == length:
        return function(timed)

    def cut(x: jax.Array) -> jax.Array:
        return x.reshape(length // block, block, *x.shape[1:])

    def body(total: Any, timed: Any) -> tuple[Any, Any]:
        summed, mapped = function(timed)
        return jax.tree.map(jnp.add, total, summed), mapped

    start = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), sums)
    summed, mapped = jax.lax.scan(body, start, jax.tree.map(cut, timed))
    return summed, jax.tree.map(lambda x: x.reshape(length, *x.shape[2:]), mapped)


def _bytes(tree: Any) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _block(length: int, step_bytes: int, sum_bytes: int) -> int:
    """The largest divisor of ``length`` whose steps fit; ``length`` off the CPU."""
    if jax.default_backend() != "cpu":
        return length
    wanted = max(_CACHE_BYTES, _SUMS_PER_BLOCK * sum_bytes)
    fits = max(1, wanted // max(1, step_bytes))
    if fits >= length:
        return length
    return max(n for n in range(1, fits + 1) if length % n == 0)
