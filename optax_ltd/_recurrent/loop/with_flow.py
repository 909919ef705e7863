"""The cell over time with Ω, whole or in segments that are computed again.

The loop reads two streams of equal values. The cotangent of one is that of
L + weight · Ω and goes on to the parameters that Ω acts on; the cotangent of the other
is that of L and goes on to everything else. So Ω reaches those parameters alone,
though both come out of one backward pass.
"""

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_ltd._numerics.leaves import Flags, Leaves, combine
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
from optax_ltd._recurrent.groups import Groups
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
    with_all_tangents,
)
from optax_ltd._recurrent.loop.means import nothing_seen, sums_to_means
from optax_ltd._recurrent.loop.observation import observe
from optax_ltd._recurrent.loop.segments import scan_in_segments
from optax_ltd._recurrent.loop.streams import streams
from optax_ltd._recurrent.loop.trajectory import Kept, Stream, Trajectory
from optax_ltd._recurrent.loop.truncation import truncation_steps
from optax_ltd._recurrent.options import Options


def scan_with_flow(
    program: CellProgram,
    groups: Groups,
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
      groups: of the carry leaves that belong to the hidden state.
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
    records = None if call.record is None else groups.listed(call.record)
    constants = [regularised.constants]
    weight = None if options.flow_off else jnp.asarray(options.flow_weight)
    clip = options.carry_clip
    if options.remat and options.flow_reduction == "mean":
        # A segment does not know how many terms the others have.
        records = nothing_seen(groups, lead, carry) if records is None else records
        apart = 1 if options.flow_off else groups.count
        average = sums_to_means(math.prod(lead[1:]), apart)
        told = weight, clip, call.mask, call.resets, call.key
        read = _one_for_each((*constants, plain.constants, records), told)
        (constants, held), records = average(*read)
        plain = plain._replace(constants=held)
        options = dataclasses.replace(options, flow_reduction="sum")
    scan = _regularised_scan(
        program, groups, options, call.num_batch_dims, apart=len(constants) > 1
    )

    def run(carry: Leaves, timed: _Timed) -> tuple[Leaves, Leaves]:
        steps = call.steps(options.flow_fraction, timed.time_index)
        seen = timed.whole(records)
        arrays = _Arrays(
            timed.time_index, weight, clip, timed.mask, timed.resets, steps, seen
        )
        return scan(
            [Stream(part, timed.regularised) for part in constants],
            Stream(plain.constants, timed.plain),
            carry,
            arrays,
        )

    timed = _Timed(
        regularised.ahead,
        plain.ahead,
        jnp.arange(lead[0]),
        call.mask,
        call.resets,
        _without_scalars(records),
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
      records: for each group zeros whose cotangent is what the backward pass saw, or
        None.
    """

    time_index: jax.Array
    weight: jax.Array | None
    carry_clip: CarryClip | None
    mask: jax.Array | None
    resets: jax.Array | None
    steps: jax.Array | None
    records: list[FlowRecord] | None

    @property
    def counts(self) -> jax.Array | None:
        """``[T, B]``, the steps that may count in Ω, or None for all of them."""
        if self.resets is None:
            return self.mask
        return ~self.resets if self.mask is None else self.mask & ~self.resets

    def cotangent(self, seen: list[FlowRecord] | None) -> tuple[Any, ...]:
        """No gradient, but what was seen as that of the records."""
        weight = None if self.weight is None else jnp.zeros_like(self.weight)
        return (None, weight, None, None, None, None, seen)


class _Timed(NamedTuple):
    """What every step reads, each over time."""

    regularised: Leaves
    plain: Leaves
    time_index: jax.Array
    mask: jax.Array | None
    resets: jax.Array | None
    records: list[FlowRecord] | None

    def whole(self, records: list[FlowRecord] | None) -> list[FlowRecord] | None:
        """The records of these steps, with the scalars that all of them share."""
        if records is None or self.records is None:
            return None
        return [
            part._replace(omega=record.omega, calls=record.calls)
            for part, record in zip(self.records, records, strict=True)
        ]


def _without_scalars(records: list[FlowRecord] | None) -> Any:
    return records and [record._replace(omega=None, calls=None) for record in records]  # pyright: ignore


def _regularised_scan(
    program: CellProgram,
    groups: Groups,
    options: Options,
    num_batch_dims: int,
    *,
    apart: bool,
) -> Any:
    """A scan whose backward pass adds the gradient of Ω.

    Returns:
      ``(regularised, plain, carry, arrays) -> (final, outputs)``. Of the two streams
      the first has the cotangent of L + weight · Ω, the second that of L alone; nothing
      is counted twice as long as each input of the network reaches only one of the two.
      The first comes in a list: alone, or, if ``apart``, once for each group of carry
      leaves with the Ω of that group in its cotangent, and L in that of the first.
    """

    def forward(regularised, plain, carry, arrays):
        # An outer derivative may come by either stream.
        stream = jax.tree.map(with_all_tangents, *regularised, plain)
        length = arrays.time_index.shape[0]
        final, outputs, kept = forward_pass(
            program, stream, carry, length, options.unroll
        )
        residuals = _Residuals(stream, carry, final, outputs, kept, arrays)
        return _one_for_each((final, outputs), arrays), residuals

    def backward(residuals, cotangents):
        trajectory = residuals.trajectory(program, groups.is_hidden)
        return _backward(
            trajectory, residuals, cotangents, groups, options, num_batch_dims, apart
        )

    @jax.custom_vjp
    def run(*args):
        return forward(*args)[0]

    run.defvjp(forward, backward)
    return run


def _one_for_each(out: Any, arrays: Any) -> Any:
    """An identity that ``jax.vmap`` over any of the arrays gives the axis of these.

    Without it members that differ in the weight alone, say, would share what this is,
    and with it one cotangent, the sum of those of all members. The backward pass, which
    runs for each member, would take that sum for the cotangent of each.
    """
    key = jax.dtypes.prng_key
    leaves = [
        jax.random.key_data(x) if jnp.issubdtype(jnp.result_type(x), key) else x
        for x in jax.tree.leaves(arrays)
    ]
    none = sum(jnp.sum(jnp.ravel(x)[:0]) for x in leaves)
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
    groups: Groups,
    options: Options,
    num_batch_dims: int,
    apart: bool,
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
    of_groups = zip(
        groups.split(signals.error), groups.split(signals.passed_on), strict=True
    )
    flows = [measure(*part, arrays.counts, num_batch_dims) for part in of_groups]
    penalty = _penalty(groups, flows, arrays, options)
    each = penalty.apart() if apart and penalty is not None else [penalty]
    plain, regularised = _cotangents(
        trajectory,
        signals,
        each,
        arrays.steps,
        hold_slopes=options.flow_slopes == "held",
    )
    carry = combine(is_hidden, initial, [None] * is_hidden.count(False))
    seen = None
    if arrays.records is not None:
        seen = observe(
            trajectory,
            residuals.final,
            signals,
            groups,
            flows,
            clipped=clipped,
            time_index=arrays.time_index,
            resets=arrays.resets,
            options=options,
        )
    out = jax.tree.map(first_order_only, (regularised, plain, carry))
    return (*out, _Arrays(*arrays.cotangent(seen)))


def _penalty(
    groups: Groups, flows: list[StepFlow], arrays: _Arrays, options: Options
) -> Penalty | None:
    """What the gradient of weight · Ω needs; a share of the steps counts for all."""
    if arrays.weight is None:
        return None

    weight, steps = arrays.weight, arrays.steps

    def of_group(flow: StepFlow) -> jax.Array:
        scale = weight * term_weight(flow.active, options.flow_reduction)
        if steps is not None:
            scale = scale * (arrays.time_index.shape[0] / steps.shape[0])
        return slope(flow, options.flow_form, scale)

    return Penalty(groups, flows, [of_group(flow) for flow in flows])


def _cotangents(
    trajectory: Trajectory,
    signals: Signals,
    penalties: Sequence[Penalty | None],
    steps: jax.Array | None,
    *,
    hold_slopes: bool,
) -> tuple[Stream, list[Stream]]:
    """Cotangents of L; of L + weight · Ω, and of each further weight · Ω alone."""
    first, *others = penalties
    of_penalty = partial(
        _of_penalty, trajectory, signals, steps=steps, hold_slopes=hold_slopes
    )
    if first is None or steps is None:
        plain, regularised = loop_cotangents(
            trajectory, signals, first, hold_slopes=hold_slopes
        )
    else:
        plain, _ = loop_cotangents(trajectory, signals)
        extra = of_penalty(first)
        regularised = Stream(
            jax.tree.map(jnp.add, plain.constants, extra.constants),
            jax.tree.map(lambda p, e: p.at[steps].add(e), plain.ahead, extra.ahead),
        )
    # Where there are others nothing of AHEAD depends on parameters.
    ahead = jax.tree.map(jnp.zeros_like, plain.ahead)
    extras = map(of_penalty, others)
    return plain, [regularised, *(Stream(e.constants, ahead) for e in extras)]


def _of_penalty(
    trajectory: Trajectory,
    signals: Signals,
    penalty: Penalty | None,
    *,
    steps: jax.Array | None,
    hold_slopes: bool,
) -> Stream:
    """Cotangents of weight · Ω alone, at some steps or at all."""
    if penalty is not None and steps is not None:
        trajectory, signals, penalty = (
            trajectory.at(steps),
            signals.at(steps),
            penalty.at(steps),
        )
    return loop_cotangents(
        trajectory, signals, penalty, with_loss=False, hold_slopes=hold_slopes
    )[1]
