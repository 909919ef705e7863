"""The cell over time with Ω, whole or in segments that are computed again.

The loop reads two streams of equal values. The cotangent of one is that of
L + weight · Ω and goes on to the parameters that Ω acts on; the cotangent of the other
is that of L and goes on to everything else. So Ω reaches those parameters alone,
though both come out of one backward pass.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_ltd._numerics.leaves import Flags, Leaves, combine, inexact, partition
from optax_ltd._recurrent.call import Call
from optax_ltd._recurrent.carry_clip import CarryClip
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
    error_signals,
    loop_cotangents,
)
from optax_ltd._recurrent.loop.forward_pass import forward_pass
from optax_ltd._recurrent.loop.guards import (
    first_order_only,
    reverse_only,
    with_both_tangents,
)
from optax_ltd._recurrent.loop.observation import observe
from optax_ltd._recurrent.loop.segments import scan_in_segments
from optax_ltd._recurrent.loop.streams import streams
from optax_ltd._recurrent.loop.trajectory import Kept, Stream, Trajectory
from optax_ltd._recurrent.loop.truncation import truncation_steps
from optax_ltd._recurrent.options import Options


def scan_with_flow(
    program: CellProgram,
    is_hidden: Flags,
    params: Any,
    carry: Leaves,
    inputs: Any,
    options: Options,
    call: Call,
    lead: tuple[int, ...],
) -> tuple[Leaves, Leaves]:
    """Scans the cell over time, with Ω in the backward pass.

    Args:
      program: the cell.
      is_hidden: which carry leaves belong to the hidden state.
      params: tree of arrays.
      carry: initial carry leaves.
      inputs: tree of ``[T, *batch, ...]``.
      options: of the layer.
      call: the arrays of this call.
      lead: time and batch axes.

    Returns:
      Final carry leaves, and outputs stacked over time.
    """
    both = streams(program, params, inputs, options.flow_params)
    (regularised, plain), carry = jax.tree.map(reverse_only, (both, carry))
    record = call.record
    if options.remat and options.flow_reduction == "mean":
        # A segment does not know how many terms the others have.
        if record is None:
            record = _nothing_seen(lead, partition(is_hidden, carry)[0][0])
        average = _sum_to_mean(math.prod(lead[1:]))
        constants, record = average(regularised.constants, plain.constants, record)
        regularised, plain = (
            stream._replace(constants=c)
            for stream, c in zip((regularised, plain), constants, strict=True)
        )
        options = dataclasses.replace(options, flow_reduction="sum")
    weight = None if options.flow_off else jnp.asarray(options.flow_weight)
    clip = options.carry_clip

    scan = _regularised_scan(program, is_hidden, options, call.num_batch_dims)

    def run(carry: Leaves, timed: _Timed) -> tuple[Leaves, Leaves]:
        part = timed.record
        if record is not None and part is not None:
            part = part._replace(omega=record.omega, calls=record.calls)
        steps = call.steps(options.flow_fraction, timed.time_index)
        arrays = _Arrays(
            timed.time_index, weight, clip, timed.mask, timed.resets, steps, part
        )
        return scan(
            Stream(regularised.constants, timed.regularised),
            Stream(plain.constants, timed.plain),
            carry,
            arrays,
        )

    over_time = None if record is None else record._replace(omega=None, calls=None)  # pyright: ignore
    timed = _Timed(
        regularised.ahead,
        plain.ahead,
        jnp.arange(lead[0]),
        call.mask,
        call.resets,
        over_time,
    )
    return scan_in_segments(run, carry, timed) if options.remat else run(carry, timed)


class _Arrays(NamedTuple):
    """What the backward pass is told of Ω beside the cell.

    Attributes:
      time_index: ``[T]``, the number of each step in its sequence.
      weight: scalar, or None for a record without Ω.
      carry_clip: what bounds δ, or None.
      mask: ``[T, B]`` or None, the steps that count in Ω.
      resets: ``[T, B]`` or None, the steps before which the carry begins anew.
      steps: ``[n]``, the steps at which Ω is differentiated; None for all of them.
      record: zeros whose cotangent is what the backward pass saw, or None.
    """

    time_index: jax.Array
    weight: jax.Array | None
    carry_clip: CarryClip | None
    mask: jax.Array | None
    resets: jax.Array | None
    steps: jax.Array | None
    record: FlowRecord | None

    @property
    def counts(self) -> jax.Array | None:
        """``[T, B]``, the steps that may count in Ω, or None for all of them."""
        if self.resets is None:
            return self.mask
        return ~self.resets if self.mask is None else self.mask & ~self.resets

    def cotangent(self, seen: FlowRecord | None) -> tuple[Any, ...]:
        """No gradient, but what was seen as that of the record."""
        weight = None if self.weight is None else jnp.zeros_like(self.weight)
        return (None, weight, None, None, None, None, seen)


class _Timed(NamedTuple):
    """What every step reads, each over time."""

    regularised: Leaves
    plain: Leaves
    time_index: jax.Array
    mask: jax.Array | None
    resets: jax.Array | None
    record: FlowRecord | None


def _regularised_scan(
    program: CellProgram, is_hidden: Flags, options: Options, num_batch_dims: int
) -> Any:
    """A scan whose backward pass adds the gradient of Ω.

    Returns:
      ``(regularised, plain, carry, arrays) -> (final, outputs)``. Of the two streams
      the first has the cotangent of L + weight · Ω, the second that of L alone; nothing
      is counted twice as long as each input of the network reaches only one of the two.
    """

    def forward(regularised, plain, carry, arrays):
        # An outer derivative may come by either stream.
        stream = jax.tree.map(with_both_tangents, regularised, plain)
        length = arrays.time_index.shape[0]
        final, outputs, kept = forward_pass(
            program, stream, carry, length, options.unroll
        )
        residuals = _Residuals(stream, carry, final, outputs, kept, arrays)
        return _one_for_each((final, outputs), arrays), residuals

    def backward(residuals, cotangents):
        trajectory = residuals.trajectory(program, is_hidden)
        return _backward(trajectory, residuals, cotangents, options, num_batch_dims)

    @jax.custom_vjp
    def run(*args):
        return forward(*args)[0]

    run.defvjp(forward, backward)
    return run


def _one_for_each(out: Any, arrays: _Arrays) -> Any:
    """An identity that ``jax.vmap`` over any of the arrays gives the axis of these.

    Without it members that differ in the weight alone, say, would share their outputs,
    and with them one cotangent, the sum of those of all members. The backward pass,
    which runs for each member, would take that sum for the cotangent of each.
    """
    none = sum(jnp.sum(jnp.ravel(x)[:0]) for x in jax.tree.leaves(arrays))
    return jax.tree.map(lambda x: jnp.where(none == 0, x, x), out)


class _Residuals(NamedTuple):
    """What the forward pass leaves for the backward pass."""

    stream: Stream
    start: Leaves
    final: Leaves
    outputs: Leaves
    kept: Kept
    arrays: _Arrays

    def trajectory(self, program: CellProgram, is_hidden: Flags) -> Trajectory:
        """The way that the forward pass took."""
        return Trajectory.of(
            program, is_hidden, self.stream, self.start, self.outputs, self.kept
        )


def _backward(
    trajectory: Trajectory,
    residuals: _Residuals,
    cotangents: Any,
    options: Options,
    num_batch_dims: int,
) -> Any:
    """The cotangents of regularised, plain, carry and arrays."""
    is_hidden, arrays = trajectory.is_hidden, residuals.arrays
    initial, signals, clipped = error_signals(
        trajectory,
        *cotangents,
        num_batch_dims=num_batch_dims,
        options=dataclasses.replace(options, carry_clip=arrays.carry_clip),
        stops=truncation_steps(arrays.time_index, options.truncate),
    )
    flow = measure(signals.error, signals.passed_on, arrays.counts, num_batch_dims)
    penalty = _penalty(flow, arrays, options)
    plain, regularised = _cotangents(trajectory, signals, penalty, arrays.steps)
    carry = combine(is_hidden, initial, [None] * is_hidden.count(False))
    seen = None
    if arrays.record is not None:
        seen = observe(
            trajectory,
            residuals.final,
            signals,
            flow,
            clipped,
            arrays.time_index,
            arrays.resets,
            options,
        )
    out = jax.tree.map(first_order_only, (regularised, plain, carry))
    return (*out, _Arrays(*arrays.cotangent(seen)))


def _penalty(flow: StepFlow, arrays: _Arrays, options: Options) -> Penalty | None:
    """What the gradient of weight · Ω needs; a share of the steps counts for all."""
    if arrays.weight is None:
        return None
    scale = arrays.weight * term_weight(flow.active, options.flow_reduction)
    if arrays.steps is not None:
        scale = scale * (arrays.time_index.shape[0] / arrays.steps.shape[0])
    return Penalty(flow, slope(flow, options.flow_form, scale))


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


def _nothing_seen(lead: tuple[int, ...], like: jax.Array) -> FlowRecord:
    """An empty record that varies over the axes of ``jax.shard_map`` as ``like``."""
    record = FlowRecord.zeros(lead)
    return jax.tree.map(
        lambda zeros: jnp.zeros_like(like, shape=zeros.shape, dtype=zeros.dtype), record
    )._replace(calls=record.calls)


def _sum_to_mean(num_examples: int) -> Any:
    """An identity whose backward pass turns Σ_t mean_b of Ω into the mean over terms.

    With B examples and n active steps of all segments together the mean is B/n times
    the sum. The two streams tell apart what of a cotangent is Ω's: it is c_L on one and
    c_L + c_Ω on the other, so c_L + B/n ((c_L + c_Ω) − c_L) is that of L and the mean.

    It takes and returns what Ω acts on, the same values in the stream of L alone, and a
    record; the number of terms is that of the active steps in the record's cotangent.
    """

    @jax.custom_vjp
    def same(regularised: Leaves, plain: Leaves, record: FlowRecord) -> Any:
        return (regularised, plain), record

    def forward(*args: Any) -> Any:
        return same(*args), inexact(args[0])

    def backward(flags: Flags, cotangents: Any) -> Any:
        (with_flow, without), record = cotangents
        terms = jnp.maximum(1, jnp.sum(record.active, dtype=int))
        share = num_examples / terms
        both, rest = partition(flags, with_flow)
        loss, _ = partition(flags, without)
        scaled = [
            (p + share * (b - p)).astype(p.dtype)
            for p, b in zip(loss, both, strict=True)
        ]
        record = record._replace(omega=share * record.omega)
        return combine(flags, scaled, rest), without, record

    same.defvjp(forward, backward)
    return same
