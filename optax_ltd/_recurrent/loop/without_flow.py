"""The cell over time without Ω: JAX's own scan, with a derivative of ours.

Differentiated step by step, a scan keeps what each equation of the cell needs and adds
up the parameters' gradient in the loop. Here the tangent of the hidden state is

    dh_t = J_t dh_{t-1} + b_t,   b_t = ∂f/∂θ dθ + ∂f/∂x dx_t

with every b_t computed at once outside the loop. This is ordinary JAX, linear in the
tangents, so that JAX's transpose of it is back-propagation as it should be: one loop
for the error signals, and then one product over all time steps for each parameter.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero, zero_from_primal
from jax.extend.core import JaxprEqn

from optax_ltd._numerics.leaves import Leaves, combine, inexact, partition
from optax_ltd._recurrent.cell.aliases import inner_jaxprs
from optax_ltd._recurrent.cell.program import CellProgram
from optax_ltd._recurrent.loop.forward_pass import forward_pass
from optax_ltd._recurrent.loop.segments import scan_in_segments
from optax_ltd._recurrent.loop.streams import stream
from optax_ltd._recurrent.loop.time_blocks import in_blocks
from optax_ltd._recurrent.loop.time_loop import time_loop
from optax_ltd._recurrent.loop.trajectory import Stream, Trajectory
from optax_ltd._recurrent.loop.truncation import stop_at, stopped, truncation_steps
from optax_ltd._recurrent.options import Options

# Whatever is linearised keeps its arguments only: the slopes follow from the values
# that the forward pass kept, and are cheaper to compute again than to store.
_from_kept_values = partial(jax.checkpoint, prevent_cse=False)


def scan_without_flow(
    program: CellProgram,
    params: Any,
    carry: Leaves,
    inputs: Any,
    length: int,
    options: Options,
) -> tuple[Leaves, Leaves]:
    """Scans the cell over time; every derivative of it exists.

    Args:
      program: the cell.
      params: tree of arrays.
      carry: initial carry leaves.
      inputs: tree of ``[T, *batch, ...]``.
      length: T.
      options: where the error signal stops, and what is computed again.

    Returns:
      Final carry leaves, and outputs stacked over time.
    """
    param_leaves = [*jax.tree.leaves(params), *program.closed_over]
    constants, ahead = stream(program, param_leaves, jax.tree.leaves(inputs))
    time_index = jnp.arange(length)
    stops = truncation_steps(time_index, options.truncate)

    def run(carry: Leaves, timed: Any) -> tuple[Leaves, Leaves]:
        ahead, stops, time_index = timed
        read = Stream(constants, ahead)
        return _differentiable_scan(
            program, read, carry, stops, len(time_index), options.unroll
        )

    timed = (ahead, stops, time_index)
    return scan_in_segments(run, carry, timed) if options.remat else run(carry, timed)


def _differentiable_scan(
    program: CellProgram,
    stream: Stream,
    carry: Leaves,
    stops: jax.Array | None,
    length: int,
    unroll: int | None,
) -> tuple[Leaves, Leaves]:
    """One scan; ``stops`` are the steps that hand nothing back to the step before."""
    loop = partial(time_loop, program, length=length, unroll=unroll)

    def scan(stream: Stream, carry: Leaves, stops: Any) -> tuple[Leaves, Leaves]:
        def body(carry: Leaves, at: Any) -> tuple[Leaves, Leaves]:
            ahead, stop = at
            return program.step(stream.constants, stop_at(stop, carry), ahead)

        return loop(body, carry, (stream.ahead, stops))

    is_hidden = inexact(carry)
    if not any(is_hidden) or any(map(_opaque, program.in_loop)):
        return scan(stream, carry, stops)
    run = jax.custom_jvp(scan)

    @partial(run.defjvp, symbolic_zeros=True)
    def run_jvp(primals: Any, tangents: Any) -> Any:
        stream, start, stops = primals
        final, outputs, kept = forward_pass(program, stream, start, length, unroll)
        trajectory = Trajectory.of(program, is_hidden, stream, start, outputs, kept)
        moved = _tangents(trajectory, loop, (final, outputs), stops, *tangents[:2])
        return (final, outputs), moved

    return run(stream, carry, stops)


def _opaque(equation: JaxprEqn) -> bool:
    """Whether an equation is one that only JAX's own scan differentiates well.

    Effects are not to happen twice. A loop or a branch within the cell would be run
    again by each pass, and a custom VJP has a batching rule only as a whole.
    """
    is_jvp = equation.primitive.name == "custom_jvp_call"
    return bool(equation.effects) or (bool(inner_jaxprs(equation)) and not is_jvp)


def _tangents(
    trajectory: Trajectory,
    loop: Callable[..., Any],
    primals_out: tuple[Leaves, Leaves],
    stops: jax.Array | None,
    stream: Stream,
    start: Leaves,
) -> tuple[Leaves, Leaves]:
    """Tangents of the final carry and of the outputs, from those of what was read."""
    program, is_hidden, at, carries, saved = trajectory
    final, outputs = primals_out

    @_from_kept_values
    def through_carry(
        tangent: Leaves, constants: Leaves, carry: Leaves, ahead: Leaves, saved: Leaves
    ) -> Any:
        hidden, rest = partition(is_hidden, carry)

        def step(hidden: Leaves) -> tuple[Leaves, Leaves]:
            old = combine(is_hidden, hidden, rest)
            return trajectory.moving(*program.step(constants, old, ahead, saved))

        return jax.jvp(step, (hidden,), (tangent,))[1]

    def body(tangent: Leaves, at_step: Any) -> tuple[Leaves, Leaves]:
        driven, stop, *kept = at_step
        if stop is not None:
            tangent = stopped(stop, tangent)
        new, side = jax.tree.map(
            jnp.add, through_carry(tangent, at.constants, *kept), driven
        )
        return new, _of_outputs(trajectory, outputs, new, side)

    first = [
        jnp.zeros_like(h) if isinstance(t, SymbolicZero) else t.astype(h.dtype)
        for h, t in zip(
            partition(is_hidden, final)[0], partition(is_hidden, start)[0], strict=True
        )
    ]
    timed = (_driven(trajectory, stream), stops, carries, at.ahead, saved)
    last, over_time = loop(body, first, timed)
    last = combine(is_hidden, last, [None] * is_hidden.count(False))
    return _or_zero(final, last), _or_zero(outputs, over_time)


def _driven(trajectory: Trajectory, tangents: Stream) -> tuple[Leaves, Leaves]:
    """What the tangents of constants and inputs add at each step, for all at once."""
    program, _, stream, carries, saved = trajectory
    moves = [tuple(map(_moves, part)) for part in tangents]
    constants, fixed = partition(moves[0], stream.constants)
    along, _ = partition(moves[0], tangents.constants)

    def at_once(timed: Any) -> tuple[tuple[()], Any]:
        @_from_kept_values
        def push(constants: Leaves, along: Leaves, timed: Any) -> Any:
            ahead, carries, saved, along_ahead = timed
            ahead, fixed_ahead = partition(moves[1], ahead)

            def steps(constants: Leaves, ahead: Leaves) -> tuple[Leaves, Leaves]:
                everywhere = combine(moves[0], constants, fixed)
                ahead = combine(moves[1], ahead, fixed_ahead)
                out = program.over_time(everywhere, carries, ahead, saved)
                return trajectory.moving(*out)

            return jax.jvp(steps, (constants, ahead), (along, along_ahead))[1]

        return (), push(constants, along, timed)

    timed = (stream.ahead, carries, saved, partition(moves[1], tangents.ahead)[0])
    if any(moves[1]):
        # Their cotangents come over time; blocks of them would need a second copy.
        return at_once(timed)[1]
    return in_blocks(at_once, timed, constants)[1]


def _of_outputs(
    trajectory: Trajectory, outputs: Leaves, hidden: Leaves, side: Leaves
) -> Leaves:
    """Output leaves in order, from hidden leaves and side outputs; None for others."""
    is_side = trajectory.is_side_output(outputs)
    carry = combine(
        trajectory.is_hidden, hidden, [None] * trajectory.is_hidden.count(False)
    )
    shared = [
        None if i is None else carry[i]
        for i, aside in zip(trajectory.program.output_is_carry, is_side, strict=True)
        if not aside
    ]
    return combine(is_side, side, shared)


def _moves(tangent: Any) -> bool:
    return not isinstance(tangent, SymbolicZero)


def _or_zero(values: Leaves, tangents: Leaves) -> Leaves:
    return [
        zero_from_primal(v, symbolic_zeros=True) if t is None else t
        for v, t in zip(values, tangents, strict=True)
    ]
