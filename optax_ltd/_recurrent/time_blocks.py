"""Work on all time steps, cut into blocks that fit a CPU's cache."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

_CACHE_BYTES = 2**20
# A block is at least this many times what it adds to, so that adding stays cheap.
_SUMS_PER_BLOCK = 4


def in_blocks(
    function: Callable[[Any], tuple[Any, Any]], timed: Any, constants: Any = ()
) -> Any:
    """``function`` of arrays over time, where it sums one result and maps another.

    On an accelerator all steps are one piece of work. On a CPU large arrays would go
    through memory once for every operation, so blocks of steps are taken in turn.

    Args:
      function: of a tree of ``[steps, ...]``; returns a tree of sums over steps and a
        tree of ``[steps, ...]``.
      timed: tree of ``[T, ...]``.
      constants: what else it reads, if that is differentiated: a sum in reverse mode.

    Returns:
      What ``function(timed)`` is, up to the order of the sums.
    """
    length = jax.tree.leaves(timed)[0].shape[0]
    sums, _ = jax.eval_shape(function, timed)
    block = _block(length, _bytes(timed), _bytes((sums, constants)))
    whole = length // block * block if block < length else 0
    if not whole:
        return function(timed)

    def cut(x: jax.Array) -> jax.Array:
        return x[:whole].reshape(whole // block, block, *x.shape[1:])

    def body(total: Any, timed: Any) -> tuple[Any, Any]:
        summed, mapped = function(timed)
        return jax.tree.map(jnp.add, total, summed), mapped

    start = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), sums)
    summed, mapped = jax.lax.scan(body, start, jax.tree.map(cut, timed))
    mapped = jax.tree.map(lambda x: x.reshape(whole, *x.shape[2:]), mapped)
    if whole == length:
        return summed, mapped
    summed, last = body(summed, jax.tree.map(lambda x: x[whole:], timed))
    return summed, jax.tree.map(lambda x, y: jnp.concatenate([x, y]), mapped, last)


def _bytes(tree: Any) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _block(length: int, timed_bytes: int, sum_bytes: int) -> int:
    """How many steps make a block: a divisor of ``length`` if a large one fits.

    The backend is that of the process that traces; another one gets the same numbers.
    """
    wanted = max(_CACHE_BYTES, _SUMS_PER_BLOCK * sum_bytes)
    if jax.default_backend() != "cpu" or timed_bytes <= wanted:
        return max(1, length)
    fits = max(1, wanted * length // timed_bytes)
    divisors = [n for n in range(fits // 2 + 1, fits + 1) if length % n == 0]
    return max(divisors, default=fits)
