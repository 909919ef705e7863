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
    if block >= length:
        return function(timed)
    blocks, rest = cut(timed, block)

    def body(total: Any, timed: Any) -> tuple[Any, Any]:
        summed, mapped = function(timed)
        return jax.tree.map(jnp.add, total, summed), mapped

    # Zeros that vary over the axes of `jax.shard_map` as the last leaf does.
    like = jax.tree.leaves(timed)[-1]
    start = jax.tree.map(lambda x: jnp.zeros_like(like, x.dtype, x.shape), sums)
    summed, mapped = jax.lax.scan(body, start, blocks)
    if rest is None:
        return summed, joined(mapped)
    summed, last = body(summed, rest)
    return summed, joined(mapped, last)


def cut(timed: Any, block: int) -> tuple[Any, Any]:
    """Blocks ``[n, block, ...]`` of a tree of ``[T, ...]``, and a rest or None."""
    length = jax.tree.leaves(timed)[0].shape[0]
    whole = length // block * block

    def blocks(x: jax.Array) -> jax.Array:
        return x[:whole].reshape(whole // block, block, *x.shape[1:])

    rest = jax.tree.map(lambda x: x[whole:], timed) if whole < length else None
    return jax.tree.map(blocks, timed), rest


def joined(blocks: Any, rest: Any = None) -> Any:
    """Undoes :func:`cut`."""
    flat = jax.tree.map(
        lambda x: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), blocks
    )
    if rest is None:
        return flat
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y]), flat, rest)


def block_length(length: int, most: int) -> int:
    """A divisor of ``length`` between ``most`` / 2 and ``most``, or else ``most``."""
    divisors = [n for n in range(most // 2 + 1, most + 1) if length % n == 0]
    return max(divisors, default=most)


def _bytes(tree: Any) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _block(length: int, timed_bytes: int, sum_bytes: int) -> int:
    """How many steps make a block.

    The backend is that of the process that traces; another one gets the same numbers.
    Where `jax.export` leaves a dimension open, sizes are not known: all are one block.
    """
    known = isinstance(timed_bytes, int) and isinstance(sum_bytes, int)
    if not known or jax.default_backend() != "cpu":
        return max(1, length)
    wanted = max(_CACHE_BYTES, _SUMS_PER_BLOCK * sum_bytes)
    if timed_bytes <= wanted:
        return max(1, length)
    return block_length(length, max(1, wanted * length // timed_bytes))
