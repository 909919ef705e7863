"""The forward pass of a recurrent layer, and what it keeps for the backward pass."""

from typing import Any

import jax

from optax_ltd._numerics.leaves import Leaves
from optax_ltd._recurrent.cell.program import CellProgram
from optax_ltd._recurrent.loop.trajectory import Kept, Stream


def forward_pass(
    program: CellProgram, stream: Stream, carry: Leaves, length: int, unroll: int
) -> tuple[Leaves, Leaves, Kept]:
    """Scans the cell over time.

    Args:
      program: the cell.
      stream: what the loop reads.
      carry: initial carry leaves.
      length: the number of time steps.
      unroll: steps unrolled in the loop.

    Returns:
      The final carry leaves, the outputs over time, and what is kept beside them.
    """
    aliased = program.output_is_carry

    def body(carry: Leaves, ahead: Leaves) -> Any:
        new, outputs, saved = program.step_and_save(stream.constants, carry, ahead)
        hidden = [c for i, c in enumerate(carry) if i not in aliased]
        return new, (outputs, Kept(hidden, saved))

    final, (outputs, kept) = jax.lax.scan(
        body, carry, stream.ahead, length=length, unroll=unroll
    )
    return final, outputs, kept
