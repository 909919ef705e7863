"""The loop without Ω, whole or in segments that are computed again."""

from typing import Any

import jax
import jax.numpy as jnp

from optax_ltd._numerics.leaves import Leaves
from optax_ltd._recurrent.cell.program import CellProgram
from optax_ltd._recurrent.flow_config import FlowConfig
from optax_ltd._recurrent.loop.backward_pass import Stream
from optax_ltd._recurrent.loop.plain_scan import plain_scan
from optax_ltd._recurrent.loop.segments import scan_in_segments
from optax_ltd._recurrent.loop.streams import stream
from optax_ltd._recurrent.loop.truncation import truncation_steps


def plain_loop(
    program: CellProgram,
    params: Any,
    carry: Leaves,
    inputs: Any,
    flow: FlowConfig,
    unroll: int,
) -> tuple[Leaves, Leaves]:
    """Scans the cell over time; every derivative of it exists.

    Args:
      program: the cell.
      params: tree of arrays.
      carry: initial carry leaves.
      inputs: tree of ``[T, *batch, ...]``.
      flow: where the error signal stops, and what is computed again.
      unroll: steps unrolled in each loop.

    Returns:
      Final carry leaves, and outputs stacked over time.
    """
    param_leaves = [*jax.tree.leaves(params), *program.closed_over]
    x = jax.tree.leaves(inputs)
    constants, ahead = stream(program, param_leaves, x)
    time_index = jnp.arange(x[0].shape[0])
    stops = truncation_steps(time_index, flow.truncate)

    def run(carry: Leaves, timed: Any) -> tuple[Leaves, Leaves]:
        ahead, stops, time_index = timed
        length = time_index.shape[0]
        return plain_scan(
            program, Stream(constants, ahead), carry, stops, length, unroll
        )

    timed = (ahead, stops, time_index)
    return scan_in_segments(run, carry, timed) if flow.remat else run(carry, timed)
