"""The loop with Ω, whole or in segments that are computed again."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_ltd._numerics.leaves import Flags, Leaves, combine, inexact, partition
from optax_ltd._recurrent.cell.program import CellProgram
from optax_ltd._recurrent.flow.record import FlowRecord
from optax_ltd._recurrent.flow_config import FlowConfig, is_zero
from optax_ltd._recurrent.loop.backward_pass import Stream
from optax_ltd._recurrent.loop.flow_scan import FlowArrays, flow_scan
from optax_ltd._recurrent.loop.guards import reverse_only
from optax_ltd._recurrent.loop.segments import scan_in_segments
from optax_ltd._recurrent.loop.streams import streams
from optax_ltd._recurrent.scan_options import ScanOptions


class _Timed(NamedTuple):
    """What every step reads, each over time."""

    regularised: Leaves
    plain: Leaves
    time_index: jax.Array
    mask: jax.Array | None
    record: FlowRecord | None


def flow_loop(
    program: CellProgram,
    is_hidden: Flags,
    params: Any,
    carry: Leaves,
    inputs: Any,
    flow: FlowConfig,
    lead: tuple[int, ...],
    unroll: int,
) -> tuple[Leaves, Leaves]:
    """Scans the cell over time, with Ω in the backward pass.

    Args:
      program: the cell.
      is_hidden: which carry leaves belong to the hidden state.
      params: tree of arrays.
      carry: initial carry leaves.
      inputs: tree of ``[T, *batch, ...]``.
      flow: what to do about Ω.
      lead: time and batch axes.
      unroll: steps unrolled in each loop.

    Returns:
      Final carry leaves, and outputs stacked over time.
    """
    paths = streams(program, params, inputs, flow.params)
    (regularised, plain), carry = jax.tree.map(reverse_only, (paths, carry))
    record, reduction = flow.record, flow.reduction
    if flow.remat and reduction == "mean":
        # A segment does not know how many terms the others have.
        if record is None:
            record = _nothing_seen(lead, partition(is_hidden, carry)[0][0])
        average = _sum_to_mean(math.prod(lead[1:]))
        constants, record = average(regularised.constants, plain.constants, record)
        regularised, plain = (
            path._replace(constants=c)
            for path, c in zip((regularised, plain), constants, strict=True)
        )
        reduction = "sum"
    options = ScanOptions(
        flow.form, reduction, len(lead) - 1, flow.carry_clip, flow.truncate, unroll
    )
    weight = None if is_zero(flow.weight) else jnp.asarray(flow.weight)

    def run(carry: Leaves, timed: _Timed) -> tuple[Leaves, Leaves]:
        part = timed.record
        if record is not None and part is not None:
            part = part._replace(omega=record.omega, calls=record.calls)
        arrays = FlowArrays(
            timed.time_index, weight, timed.mask, flow.steps(timed.time_index), part
        )
        return flow_scan(
            program,
            is_hidden,
            options,
            Stream(regularised.constants, timed.regularised),
            Stream(plain.constants, timed.plain),
            carry,
            arrays,
        )

    over_time = None if record is None else record._replace(omega=None, calls=None)  # pyright: ignore
    timed = _Timed(
        regularised.ahead, plain.ahead, jnp.arange(lead[0]), flow.mask, over_time
    )
    return scan_in_segments(run, carry, timed) if flow.remat else run(carry, timed)


def _nothing_seen(lead: tuple[int, ...], like: jax.Array) -> FlowRecord:
    """An empty record that varies over the axes of ``jax.shard_map`` as ``like``."""
    record = FlowRecord.zeros(lead)
    return jax.tree.map(
        lambda zeros: jnp.zeros_like(like, shape=zeros.shape, dtype=zeros.dtype), record
    )._replace(calls=record.calls)


def _sum_to_mean(num_examples: int) -> Any:
    """An identity whose backward pass turns Σ_t mean_b of Ω into the mean over terms.

    It takes and returns what Ω acts on, the same values on the path of L alone, and a
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
