"""A scan over a cell whose backward pass adds the gradient of Ω."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from optax_ltd._recurrent.backward_pass import (
    Penalty,
    Signals,
    Stream,
    Trajectory,
    error_signals,
    loop_cotangents,
)
from optax_ltd._recurrent.carry_clip import CarryClip
from optax_ltd._recurrent.cell_program import CellProgram
from optax_ltd._recurrent.differentiation_guards import (
    first_order_only,
    reverse_only,
    with_both_tangents,
)
from optax_ltd._recurrent.flow_record import FlowRecord
from optax_ltd._recurrent.forward_pass import carries_before, forward_pass
from optax_ltd._recurrent.information_flow import (
    FlowForm,
    FlowReduction,
    StepFlow,
    measure,
    omega,
    slope,
    term_weight,
)
from optax_ltd._recurrent.leaves import Flags, Leaves, combine


@dataclasses.dataclass(frozen=True)
class FlowOptions:
    """The static choices of a scan with Ω.

    Attributes:
      form: ``"ratio"`` or ``"squared_ratio"``.
      reduction: ``"sum"`` or ``"mean"`` over time.
      num_batch_dims: how many axes after time are batch.
      length: the number of time steps.
      carry_clip: what bounds the error signal at each step, or None.
      unroll: steps unrolled in each loop.
    """

    form: FlowForm
    reduction: FlowReduction
    num_batch_dims: int
    length: int
    carry_clip: CarryClip | None
    unroll: int


def flow_scan(
    program: CellProgram,
    is_hidden: Flags,
    options: FlowOptions,
    regularised: Stream,
    plain: Stream,
    carry: Leaves,
    weight: jax.Array | None,
    mask: jax.Array | None,
    steps: jax.Array | None,
    record: FlowRecord | None,
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
      weight: scalar, or None for a record without Ω.
      mask: ``[T, B]`` or None, the steps that count in Ω.
      steps: ``[n]``, the steps at which Ω is differentiated; None for all of them.
      record: zeros whose cotangent is what the backward pass saw, or None.

    Returns:
      Final carry leaves, and outputs stacked over time.
    """
    guarded = jax.tree.map(_guard, (regularised, plain, carry))
    run = _make(program, is_hidden, options)
    return run(*guarded, weight, mask, steps, record)


def _guard(x: Any) -> Any:
    return reverse_only(x) if jnp.issubdtype(x.dtype, jnp.inexact) else x


def _both(x: Any, same: Any) -> Any:
    return with_both_tangents(x, same) if jnp.issubdtype(x.dtype, jnp.inexact) else x


def _make(program: CellProgram, is_hidden: Flags, options: FlowOptions) -> Any:
    def forward(regularised, plain, carry, weight, mask, steps, record):
        # An outer derivative may come by either path.
        stream = jax.tree.map(_both, regularised, plain)
        final, outputs, carries, saved = forward_pass(
            program, stream, carry, options.length, options.unroll
        )
        trajectory = (stream, carry, outputs, carries, saved)
        return (final, outputs), (*trajectory, weight, mask, steps, record)

    def backward(residuals, cotangents):
        stream, start, outputs, carries, saved, weight, mask, steps, record = residuals
        trajectory = Trajectory(
            program,
            is_hidden,
            stream,
            carries_before(program, start, outputs, carries),
            program.saved(outputs, saved),
        )
        initial, signals, clipped = error_signals(
            trajectory,
            *cotangents,
            num_batch_dims=options.num_batch_dims,
            carry_clip=options.carry_clip,
            unroll=options.unroll,
        )
        flow = measure(signals.error, signals.passed_on, mask, options.num_batch_dims)
        penalty = None
        if weight is not None:
            penalty = _penalty(flow, weight, steps, options)
        plain, regularised = _cotangents(trajectory, signals, penalty, steps)
        carry = combine(is_hidden, initial, [None] * is_hidden.count(False))
        out = jax.tree.map(first_order_only, (regularised, plain, carry))
        no_weight = None if weight is None else jnp.zeros_like(weight)
        seen = _seen(flow, clipped, options) if record is not None else None
        return (*out, no_weight, None, None, seen)

    @jax.custom_vjp
    def run(*args):
        return forward(*args)[0]

    run.defvjp(forward, backward)
    return run


def _penalty(
    flow: StepFlow, weight: jax.Array, steps: jax.Array | None, options: FlowOptions
) -> Penalty:
    """What the gradient of weight · Ω needs; a share of the steps counts for all."""
    scale = weight * term_weight(flow.active, options.reduction, options.num_batch_dims)
    if steps is not None:
        scale = scale * (options.length / steps.shape[0])
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


def _seen(
    flow: StepFlow, clipped: jax.Array | None, options: FlowOptions
) -> FlowRecord:
    total = omega(
        flow.gains,
        flow.active,
        options.form,
        options.reduction,
        options.num_batch_dims,
    )
    gains = jnp.where(flow.active, flow.gains, 0)
    clipped = jnp.zeros_like(flow.active) if clipped is None else clipped
    seen = FlowRecord(
        flow.error_norms, gains, flow.active, clipped, total, jnp.ones(())
    )
    return jax.tree.map(lambda x: x.astype(jnp.float32), seen)
