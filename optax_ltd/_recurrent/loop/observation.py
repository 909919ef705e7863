"""What one backward pass tells of the error signal, put into records."""

from typing import Any

import jax
import jax.numpy as jnp

from optax_ltd._numerics.example_norms import append_axes, norms
from optax_ltd._numerics.leaves import Leaves, partition
from optax_ltd._recurrent.flow.information_flow import StepFlow, omega
from optax_ltd._recurrent.flow.record import FlowRecord
from optax_ltd._recurrent.groups import Groups
from optax_ltd._recurrent.loop.backward_pass import Signals
from optax_ltd._recurrent.loop.trajectory import Trajectory
from optax_ltd._recurrent.loop.truncation import truncation_steps
from optax_ltd._recurrent.options import Options


def observe(
    trajectory: Trajectory,
    final: Leaves,
    signals: Signals,
    groups: Groups,
    flows: list[StepFlow],
    *,
    clipped: jax.Array | None,
    time_index: jax.Array,
    resets: jax.Array | None,
    options: Options,
) -> list[FlowRecord]:
    """The records of one backward pass, one for each group.

    Args:
      trajectory: from the forward pass.
      final: the carry leaves after the last step.
      signals: what the backward pass sent along.
      groups: of the leaves of the hidden state.
      flows: norms and gains of the signals, for each group.
      clipped: ``[T, B]``, which steps ``carry_clip`` changed, or None.
      time_index: ``[T]``, the number of each step in its sequence.
      resets: ``[T, B]``, the steps before which the carry began anew, or None.
      options: of the layer.
    """
    cut = jnp.zeros_like(flows[0].active) if resets is None else resets
    stops = truncation_steps(time_index, options.truncate)
    if stops is not None:
        cut |= append_axes(stops, cut)

    def record(flow: StepFlow, past: Leaves, before: Leaves, last: Leaves) -> Any:
        seen = FlowRecord(
            error_norms=flow.error_norms,
            gains=jnp.where(flow.active, flow.gains, 0),
            active=flow.active,
            clipped=jnp.zeros_like(flow.active) if clipped is None else clipped,
            cut=cut,
            dropped_norms=_dropped_norms(past, cut, time_index),
            state_broken=_broken(before, last, cut.ndim),
            omega=omega(
                flow.gains, flow.active, options.flow_form, options.flow_reduction
            ),
            calls=jnp.sum(time_index == 0),
        )
        return jax.tree.map(lambda x: x.astype(jnp.float32), seen)

    hidden = (
        groups.split(partition(groups.is_hidden, carries)[0])
        for carries in (trajectory.carries, final)
    )
    return [*map(record, flows, groups.split(signals.past), *hidden)]


def _dropped_norms(past: Leaves, cut: jax.Array, time_index: jax.Array) -> jax.Array:
    dropped = cut | append_axes(time_index == 0, cut)
    return jnp.where(dropped, norms(past, cut.ndim), 0)


def _broken(before: Leaves, last: Leaves, lead: int) -> jax.Array:
    """Whether the hidden state after each step holds an Inf or a NaN."""
    broken = []
    for h, end in zip(before, last, strict=True):
        after = jnp.concatenate([h, end[None]])[1:]
        broken.append(jnp.any(~jnp.isfinite(after), axis=tuple(range(lead, h.ndim))))
    return jnp.any(jnp.stack(broken), axis=0)
