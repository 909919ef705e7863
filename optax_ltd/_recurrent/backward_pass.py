"""The backward pass of a recurrent layer: δ by one loop, then everything else at once.

With δ_t = ∂L/∂h_t, u_t = δ_t J_t and w_t = ∂Ω/∂u_t, all held constant, the gradient of
Ω is that of Σ_t ⟨δ_t, ∂f_θ(h_{t-1}, x_t)/∂h · w_t⟩ in θ: one directional derivative of
the cell, differentiated once. No time order is left in it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_ltd._recurrent import leaves
from optax_ltd._recurrent.cell_program import CellProgram
from optax_ltd._recurrent.equations import Leaves
from optax_ltd._recurrent.information_flow import StepFlow, expand
from optax_ltd._recurrent.time_blocks import in_blocks


class Stream(NamedTuple):
    """What the loop reads of the parameters, and of the inputs over time."""

    constants: Leaves
    ahead: Leaves


class Trajectory(NamedTuple):
    """What the forward pass leaves behind.

    Attributes:
      program: the cell.
      flows: which carry leaves belong to the hidden state h.
      stream: what the loop read.
      carries: the carry leaves before each step, over time.
      saved: costly values of each step, over time.
    """

    program: CellProgram
    flows: leaves.Flags
    stream: Stream
    carries: Leaves
    saved: Leaves

    def free(self, outputs: Leaves) -> Leaves:
        """Those of the output leaves that have a gradient and are no hidden state."""
        return [
            y
            for y, i in zip(outputs, self.program.output_is_carry, strict=True)
            if leaves.inexact([y])[0] and (i is None or not self.flows[i])
        ]

    def through_outputs(self, cotangents: Leaves) -> Leaves:
        """What the loss reads of each hidden leaf through the outputs, or None."""
        read = [None] * len(self.flows)
        for y, i in zip(cotangents, self.program.output_is_carry, strict=True):
            if i is not None:
                read[i] = y if read[i] is None else read[i] + y
        return leaves.partition(self.flows, read)[0]


class Signals(NamedTuple):
    """Over time: δ_t, δ_t J_t and the cotangents of the free outputs."""

    error: Leaves
    passed_on: Leaves
    free: Leaves


def error_signals(
    trajectory: Trajectory, final: Leaves, outputs: Leaves, unroll: int
) -> tuple[Leaves, Signals]:
    """Back-propagates through time, for the hidden states only.

    Args:
      trajectory: from the forward pass.
      final: cotangents of the final carry leaves.
      outputs: cotangents of the outputs over time.
      unroll: steps unrolled in the loop.

    Returns:
      The cotangents of the initial hidden state, and the signals of every step.
    """
    program, flows, stream, carries, saved = trajectory
    free = trajectory.free(outputs)

    def body(future: Leaves, at: tuple[Leaves, ...]) -> tuple[Leaves, tuple]:
        carry, ahead, saved, read, free = at
        hidden, rest = leaves.partition(flows, carry)

        def step(hidden: Leaves) -> tuple[Leaves, Leaves]:
            old = leaves.combine(flows, hidden, rest)
            new, outputs = program.step(stream.constants, old, ahead, saved)
            return leaves.partition(flows, new)[0], trajectory.free(outputs)

        error = [f if r is None else f + r for f, r in zip(future, read, strict=True)]
        _, back = jax.vjp(step, hidden)
        (past,) = back((error, free))
        passed_on = back((error, jax.tree.map(jnp.zeros_like, free)))[0]
        return past, (error, passed_on if free else past)

    initial, (error, passed_on) = jax.lax.scan(
        body,
        leaves.partition(flows, final)[0],
        (carries, stream.ahead, saved, trajectory.through_outputs(outputs), free),
        reverse=True,
        unroll=unroll,
    )
    return initial, Signals(error, passed_on, free)


class Penalty(NamedTuple):
    """What the gradient of Ω needs to know of each step, all held constant."""

    flow: StepFlow
    slope: jax.Array


def loop_cotangents(
    trajectory: Trajectory, signals: Signals, penalty: Penalty | None = None
) -> Stream:
    """Cotangents of what the loop read, for all time steps at once.

    Args:
      trajectory: from the forward pass.
      signals: from :func:`error_signals`.
      penalty: what of Ω to add; None for the cotangents of L alone.

    Returns:
      The cotangents of L, or of L + weight · Ω; None for leaves without a gradient.
    """
    program, flows, stream, carries, saved = trajectory
    flags = [leaves.inexact(part) for part in stream]
    constants, held = leaves.partition(flags[0], stream.constants)

    def at_once(timed: Any) -> tuple[Leaves, Leaves]:
        ahead, carries, saved, signals, penalty = timed
        ahead, held_ahead = leaves.partition(flags[1], ahead)
        hidden, rest = leaves.partition(flows, carries)

        def steps(constants: Leaves, ahead: Leaves, hidden: Leaves) -> Any:
            new, outputs = program.over_time(
                leaves.combine(flags[0], constants, held),
                leaves.combine(flows, hidden, rest),
                leaves.combine(flags[1], ahead, held_ahead),
                saved,
            )
            return leaves.partition(flows, new)[0], trajectory.free(outputs)

        return _pull_back(steps, constants, ahead, hidden, signals, penalty)

    timed = (stream.ahead, carries, saved, signals, penalty)
    cotangents = in_blocks(at_once, timed)
    return Stream(
        *(
            leaves.combine(f, ct, [None] * f.count(False))
            for f, ct in zip(flags, cotangents, strict=True)
        )
    )


def _pull_back(
    steps: Callable[..., tuple[Leaves, Leaves]],
    constants: Leaves,
    ahead: Leaves,
    hidden: Leaves,
    signals: Signals,
    penalty: Penalty | None,
) -> tuple[Leaves, Leaves]:
    """Cotangents of constants and ahead under ⟨δ, f⟩ + ⟨δ/‖δ‖, ∂f/∂h · w⟩."""

    def value(constants: Leaves, ahead: Leaves) -> tuple[Any, Leaves]:
        at = partial(steps, constants, ahead)
        if penalty is None:
            return at(hidden), []
        along = [
            (u * expand(penalty.slope, u)).astype(h.dtype)
            for u, h in zip(
                penalty.flow.relative(signals.passed_on), hidden, strict=True
            )
        ]
        out, (tangent, _) = jax.jvp(at, (hidden,), (along,))
        return out, tangent

    (_, tangent), back = jax.vjp(value, constants, ahead)
    unit = penalty.flow.relative(signals.error) if penalty else []
    unit = [d.astype(t.dtype) for d, t in zip(unit, tangent, strict=True)]
    return back(((signals.error, signals.free), unit))
