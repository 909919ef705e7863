"""A scan over a cell whose backward pass adds the gradient of Ω."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_ltd._numerics.leaves import Flags, Leaves, combine
from optax_ltd._recurrent.cell.program import CellProgram
from optax_ltd._recurrent.flow.information_flow import (
    StepFlow,
    measure,
    slope,
    term_weight,
)
from optax_ltd._recurrent.flow.record import FlowRecord
from optax_ltd._recurrent.loop.backward_pass import (
    Penalty,
    Signals,
    Stream,
    Trajectory,
    error_signals,
    loop_cotangents,
)
from optax_ltd._recurrent.loop.forward_pass import carries_before, forward_pass
from optax_ltd._recurrent.loop.guards import (
    first_order_only,
    with_both_tangents,
)
from optax_ltd._recurrent.loop.observation import observe
from optax_ltd._recurrent.loop.truncation import truncation_steps
from optax_ltd._recurrent.scan_options import ScanOptions


class FlowArrays(NamedTuple):
    """What the backward pass is told of Ω beside the cell.

    Attributes:
      time_index: ``[T]``, the number of each step in its sequence.
      weight: scalar, or None for a record without Ω.
      mask: ``[T, B]`` or None, the steps that count in Ω.
      steps: ``[n]``, the steps at which Ω is differentiated; None for all of them.
      record: zeros whose cotangent is what the backward pass saw, or None.
    """

    time_index: jax.Array
    weight: jax.Array | None
    mask: jax.Array | None
    steps: jax.Array | None
    record: FlowRecord | None

    def cotangent(self, seen: FlowRecord | None) -> tuple[Any, ...]:
        """No gradient, but what was seen as that of the record."""
        weight = None if self.weight is None else jnp.zeros_like(self.weight)
        return (None, weight, None, None, seen)


def flow_scan(
    program: CellProgram,
    is_hidden: Flags,
    options: ScanOptions,
    regularised: Stream,
    plain: Stream,
    carry: Leaves,
    arrays: FlowArrays,
) -> tuple[Leaves, Leaves]:
    """Scans the cell over time.

    Args:
      program: the cell.
      is_hidden: which carry leaves belong to the hidden state h; the others are handed
        on without a gradient.
      options: static choices.
      regularised: what the loop reads; its cotangent is that of L + weight · Ω.
      plain: the same values; its cotangent is that of L alone, and nothing is counted
        twice as long as each input of the network reaches only one of the two.
      carry: initial carry leaves.
      arrays: what else the backward pass needs.

    Returns:
      Final carry leaves, and outputs stacked over time.
    """
    run = _make(program, is_hidden, options)
    return run(regularised, plain, carry, arrays)


def _make(program: CellProgram, is_hidden: Flags, options: ScanOptions) -> Any:
    def forward(regularised, plain, carry, arrays):
        # An outer derivative may come by either path.
        stream = jax.tree.map(with_both_tangents, regularised, plain)
        length = arrays.time_index.shape[0]
        final, outputs, carries, saved = forward_pass(
            program, stream, carry, length, options.unroll
        )
        kept = _Kept(stream, carry, final, outputs, carries, saved, arrays)
        return (final, outputs), kept

    def backward(kept, cotangents):
        carries = carries_before(program, kept.start, kept.outputs, kept.carries)
        saved = program.saved(kept.outputs, kept.saved)
        trajectory = Trajectory(program, is_hidden, kept.stream, carries, saved)
        return _backward(trajectory, kept, cotangents, options)

    @jax.custom_vjp
    def run(*args):
        return forward(*args)[0]

    run.defvjp(forward, backward)
    return run


class _Kept(NamedTuple):
    """What the forward pass leaves for the backward pass."""

    stream: Stream
    start: Leaves
    final: Leaves
    outputs: Leaves
    carries: Leaves
    saved: Leaves
    arrays: FlowArrays


def _backward(
    trajectory: Trajectory, kept: _Kept, cotangents: Any, options: ScanOptions
) -> Any:
    """The cotangents of regularised, plain, carry and arrays."""
    is_hidden, arrays = trajectory.is_hidden, kept.arrays
    initial, signals, clipped = error_signals(
        trajectory,
        *cotangents,
        num_batch_dims=options.num_batch_dims,
        carry_clip=options.carry_clip,
        stops=truncation_steps(arrays.time_index, options.truncate),
        unroll=options.unroll,
    )
    flow = measure(
        signals.error, signals.passed_on, arrays.mask, options.num_batch_dims
    )
    penalty = _penalty(flow, arrays, options)
    plain, regularised = _cotangents(trajectory, signals, penalty, arrays.steps)
    carry = combine(is_hidden, initial, [None] * is_hidden.count(False))
    seen = None
    if arrays.record is not None:
        seen = observe(
            trajectory,
            kept.final,
            signals,
            flow,
            clipped,
            arrays.time_index,
            options,
        )
    out = jax.tree.map(first_order_only, (regularised, plain, carry))
    return (*out, FlowArrays(*arrays.cotangent(seen)))


def _penalty(
    flow: StepFlow, arrays: FlowArrays, options: ScanOptions
) -> Penalty | None:
    """What the gradient of weight · Ω needs; a share of the steps counts for all."""
    if arrays.weight is None:
        return None
    scale = term_weight(flow.active, options.reduction, options.num_batch_dims)
    scale = arrays.weight * scale
    if arrays.steps is not None:
        scale = scale * (arrays.time_index.shape[0] / arrays.steps.shape[0])
    return Penalty(flow, slope(flow, options.form, scale))


def _cotangents(
    trajectory: Trajectory,
    signals: Signals,
    penalty: Penalty | None,
    steps: jax.Array | None,
) -> tuple[Stream, Stream]:
    """Cotangents of L, and of L + weight · Ω."""
    if penalty is None or steps is None:
        return loop_cotangents(trajectory, signals, penalty)
    plain, _ = loop_cotangents(trajectory, signals)
    _, extra = loop_cotangents(
        trajectory.at(steps), signals.at(steps), penalty.at(steps), with_loss=False
    )
    regularised = Stream(
        jax.tree.map(jnp.add, plain.constants, extra.constants),
        jax.tree.map(lambda p, e: p.at[steps].add(e), plain.ahead, extra.ahead),
    )
    return plain, regularised
