"""Derivatives that do not move with the state.

The derivative of an equation reads operands of it: that of W h by h reads W, and that
of tanh(a) reads a. Held, it reads an operand that depends on the carry as a constant,
and all others as they are. A second derivative then has the terms of those others
alone: of W, which enters the Jacobian explicitly, and not of the W in a, by which the
slope 1 - tanh² moves.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
from jax.custom_derivatives import SymbolicZero

from optax_ltd._numerics.leaves import Leaves, combine, partition


def held_slopes(
    function: Callable[..., Leaves], holds: Sequence[bool]
) -> Callable[..., Leaves]:
    """A function whose derivative reads some of its operands as constants.

    Values and first derivatives are those of the function.

    Args:
      function: of arrays, with a forward mode.
      holds: for each operand whether it is one of these.

    Returns:
      The function with that derivative.
    """

    @jax.custom_jvp
    def same(*operands: Any) -> Leaves:
        return function(*operands)

    @partial(same.defjvp, symbolic_zeros=True)
    def tangent(operands: Any, tangents: Any) -> tuple[Leaves, Leaves]:
        read = [
            jax.lax.stop_gradient(x) if hold else x
            for x, hold in zip(operands, holds, strict=True)
        ]
        moves = tuple(not isinstance(t, SymbolicZero) for t in tangents)
        moving, fixed = partition(moves, read)
        along, _ = partition(moves, list(tangents))
        at = lambda *moving: function(*combine(moves, list(moving), fixed))
        return same(*operands), jax.jvp(at, moving, along)[1]

    return same
