"""The forward pass of a recurrent layer, and what it keeps for the backward pass."""

from typing import Any

import jax
import jax.numpy as jnp

from optax_ltd._numerics.leaves import Leaves
from optax_ltd._recurrent.cell.program import CellProgram
from optax_ltd._recurrent.loop.backward_pass import Stream


def forward_pass(
    program: CellProgram, stream: Stream, carry: Leaves, length: int, unroll: int
) -> tuple[Leaves, Leaves, Leaves, Leaves]:
    """Scans the cell over time.

    Args:
      program: the cell.
      stream: what the loop reads.
      carry: initial carry leaves.
      length: the number of time steps.
      unroll: steps unrolled in the loop.

    Returns:
      The final carry leaves; over time the outputs, and the carries before each step
      and the costly values that are not among the outputs.
    """
    aliased = program.output_is_carry

    def body(carry: Leaves, ahead: Leaves) -> Any:
        new, outputs, saved = program.step_and_save(stream.constants, carry, ahead)
        hidden = [c for i, c in enumerate(carry) if i not in aliased]
        return new, (outputs, hidden, saved)

    final, (outputs, carries, saved) = jax.lax.scan(
        body, carry, stream.ahead, length=length, unroll=unroll
    )
    return final, outputs, carries, saved


def carries_before(
    program: CellProgram, start: Leaves, outputs: Leaves, hidden: Leaves
) -> Leaves:
    """The carry before each step: an output one step earlier, or kept beside them."""
    rest = iter(hidden)
    aliased = program.output_is_carry
    return [
        _shifted(first, outputs[aliased.index(i)]) if i in aliased else next(rest)
        for i, first in enumerate(start)
    ]


def _shifted(first: jax.Array, rest: jax.Array) -> jax.Array:
    return jnp.concatenate([first[None], rest[:-1]])[: rest.shape[0]]
