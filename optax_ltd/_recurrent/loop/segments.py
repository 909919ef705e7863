"""A scan in segments, of which the backward pass keeps only where each begins."""

import math
from collections.abc import Callable
from typing import Any

import jax

from optax_ltd._recurrent.loop.time_blocks import block_length, cut, joined


def scan_in_segments(
    run: Callable[[Any, Any], tuple[Any, Any]], carry: Any, timed: Any
) -> tuple[Any, Any]:
    """``run`` over about √T segments of about √T steps each.

    The forward pass keeps the carry at the beginning of each segment; the backward pass
    runs one segment again before it goes through it. Beside what goes in and comes out,
    memory is that of √T carries and of one segment (Chen, Xu, Zhang & Guestrin, 2016,
    https://arxiv.org/abs/1604.06174).

    Args:
      run: ``(carry, timed) -> (carry, outputs)`` over any number of time steps.
      carry: the initial carry.
      timed: tree of ``[T, ...]``.

    Returns:
      What ``run(carry, timed)`` is.
    """
    # A segment of s steps costs T/s carries and s kept steps: s = √T is the best, and a
    # divisor between √T and 2√T leaves no rest.
    length = jax.tree.leaves(timed)[0].shape[0]
    again = jax.checkpoint(run, prevent_cse=False)
    if length < 2:
        return again(carry, timed)
    segments, rest = cut(timed, block_length(length, math.isqrt(4 * length - 1)))
    carry, outputs = jax.lax.scan(again, carry, segments)
    if rest is None:
        return carry, joined(outputs)
    carry, last = again(carry, rest)
    return carry, joined(outputs, last)
