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
from optax_ltd._recurrent.carry_clip import CarryClip
from optax_ltd._recurrent.cell_program import CellProgram
from optax_ltd._recurrent.equations import Leaves
from optax_ltd._recurrent.example_norms import expand
from optax_ltd._recurrent.information_flow import StepFlow
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

    def at(self, steps: jax.Array) -> "Trajectory":
        """The same at some time steps only."""
        ahead, carries, saved = jax.tree.map(
            lambda x: x[steps], (self.stream.ahead, self.carries, self.saved)
        )
        stream = self.stream._replace(ahead=ahead)
        return self._replace(stream=stream, carries=carries, saved=saved)

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

    def at(self, steps: jax.Array) -> "Signals":
        """The same at some time steps only."""
        return jax.tree.map(lambda x: x[steps], self)


def error_signals(
    trajectory: Trajectory,
    final: Leaves,
    outputs: Leaves,
    num_batch_dims: int,
    carry_clip: CarryClip | None,
    unroll: int,
) -> tuple[Leaves, Signals, jax.Array | None]:
    """Back-propagates through time, for the hidden states only.

    Args:
      trajectory: from the forward pass.
      final: cotangents of the final carry leaves.
      outputs: cotangents of the outputs over time.
      num_batch_dims: how many axes after time are batch.
      carry_clip: what bounds δ_t at each step, or None.
      unroll: steps unrolled in the loop.

    Returns:
      The cotangents of the initial hidden state, the signals of every step, and which
      steps were clipped, ``[T, *batch]``, or None without a clip.
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
        clipped = None
        if carry_clip is not None:
            error, clipped = carry_clip(error, num_batch_dims)
        _, back = jax.vjp(step, hidden)
        (past,) = back((error, free))
        passed_on = back((error, jax.tree.map(jnp.zeros_like, free)))[0]
        return past, (error, passed_on if free else past, clipped)

    initial, (error, passed_on, clipped) = jax.lax.scan(
        body,
        leaves.partition(flows, final)[0],
        (carries, stream.ahead, saved, trajectory.through_outputs(outputs), free),
        reverse=True,
        unroll=unroll,
    )
    return initial, Signals(error, passed_on, free), clipped


class Penalty(NamedTuple):
    """What the gradient of Ω needs to know of each step, all held constant.

    Attributes:
      flow: norms, gains and activity.
      slope: ``[T, B]``, from :func:`~optax_ltd._recurrent.information_flow.slope`.
    """

    flow: StepFlow
    slope: jax.Array

    def at(self, steps: jax.Array) -> "Penalty":
        """The same at some time steps only."""
        return jax.tree.map(lambda x: x[steps], self)


def loop_cotangents(
    trajectory: Trajectory,
    signals: Signals,
    penalty: Penalty | None = None,
    *,
    with_loss: bool = True,
) -> Stream:
    """Cotangents of what the loop read, for all time steps at once.

    Args:
      trajectory: from the forward pass.
      signals: from :func:`error_signals`.
      penalty: what of Ω to add; None for the cotangents of L alone.
      with_loss: False for the cotangents of weight · Ω alone.

    Returns:
      The cotangents of L + weight · Ω, or of one of them; None for leaves without a
      gradient.
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

        pull_back = partial(_pull_back, steps, constants, ahead, hidden)
        return pull_back(signals, penalty, with_loss)

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
    with_loss: bool,
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
    of_loss = signals.error, signals.free
    if not with_loss:
        of_loss = jax.tree.map(jnp.zeros_like, of_loss)
    return back((of_loss, unit))
