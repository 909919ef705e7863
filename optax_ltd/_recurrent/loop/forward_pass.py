"""The forward pass of a recurrent layer, and what it keeps for the backward pass."""

from typing import Any

from optax_ltd._numerics.leaves import Leaves
from optax_ltd._recurrent.cell.program import CellProgram
from optax_ltd._recurrent.loop.time_loop import time_loop
from optax_ltd._recurrent.loop.trajectory import Kept, Stream


def forward_pass(
    program: CellProgram,
    stream: Stream,
    carry: Leaves,
    length: int,
    unroll: int | None,
) -> tuple[Leaves, Leaves, Kept]:
    """Scans the cell over time.

    Args:
      program: the cell.
      stream: what the loop reads.
      carry: initial carry leaves.
      length: the number of time steps.
      unroll: of the options.

    Returns:
      The final carry leaves, the outputs over time, and what is kept beside them.
    """
    aliased = program.output_is_carry

    def body(carry: Leaves, ahead: Leaves) -> Any:
        new, outputs, saved = program.step_and_save(stream.constants, carry, ahead)
        hidden = [c for i, c in enumerate(carry) if i not in aliased]
        return new, (outputs, Kept(hidden, saved))

    final, (outputs, kept) = time_loop(
        program, body, carry, stream.ahead, length, unroll
    )
    return final, outputs, kept
