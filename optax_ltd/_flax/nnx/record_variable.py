"""The variable through which a layer's backward pass tells what it saw."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from optax_ltd._flax.sequences import check_same_lead
from optax_ltd._recurrent.flow.record import (
    FlowRecords,
    empty_records,
    leading_axes,
)
from optax_ltd._recurrent.groups import group_names


class FlowRecordVariable(nnx.Variable):
    """Zeros whose cotangent is what the backward pass saw of the error signal."""


class Axes(NamedTuple):
    """The axes of what a layer has to tell.

    Attributes:
      stack: of the layers that ``nnx.vmap`` or ``nnx.scan`` makes of a single object,
        in front of their parameters; none for one layer.
      lead: time and batch axes of a call.
      groups: the names of its groups of carry leaves, or None.
    """

    stack: tuple[int, ...]
    lead: tuple[int, ...]
    groups: tuple[str, ...] | None

    def zeros(self) -> FlowRecords:
        """An empty record for all layers, the stack in front."""
        return jax.tree.map(
            lambda zeros: jnp.zeros((*self.stack, *zeros.shape), zeros.dtype),
            empty_records(self.groups, self.lead),
        )

    def layers(self, record: FlowRecords) -> dict[str, FlowRecords]:
        """The records of single layers, by what stands behind the object's path."""
        if not self.stack:
            return {"": record}
        flat = jax.tree.map(
            lambda x: x.reshape(-1, *x.shape[len(self.stack) :]), record
        )
        places = [()]
        for size in self.stack:
            places = [(*place, i) for place in places for i in range(size)]
        assert len(places) == math.prod(self.stack)
        return {
            "/".join(map(str, place)): jax.tree.map(lambda x, i=i: x[i], flat)
            for i, place in enumerate(places)
        }


class Probe:
    """Takes the place of the variable in an abstract run, and learns the axes."""

    def __init__(self, cell: nnx.Module):
        self._shape = _parameter_shape(cell)
        self.axes: Axes | None = None

    def see(self, cell: nnx.Module, flow_groups: Any, lead: tuple[int, ...]) -> None:
        """Notes the axes of one call."""
        stack = list(self._shape)
        for size in reversed(_parameter_shape(cell)):
            # From the end, for what a transformation takes away stands in front.
            stack.reverse()
            stack.remove(size)
            stack.reverse()
        axes = Axes(tuple(stack), lead, group_names(flow_groups))
        if self.axes is not None:
            check_same_lead(self.axes.stack, axes.stack)
            check_same_lead(self.axes.lead, lead)
        self.axes = axes


def record_of(
    holder: FlowRecordVariable | Probe | None,
    cell: nnx.Module,
    flow_groups: Any,
    lead: tuple[int, ...],
) -> FlowRecords | None:
    """The record of one call.

    Args:
      holder: of the layer; None if nobody asks.
      cell: of the layer.
      flow_groups: of the layer.
      lead: time and batch axes of the call.

    Returns:
      Zeros for :func:`~optax_ltd.unroll`, or None.

    Raises:
      ValueError: if an earlier call had other axes, or a transformation maps the
        layer's parameters but not its record.
    """
    if isinstance(holder, Probe):
        holder.see(cell, flow_groups, lead)
        return None
    if holder is None:
        return None
    records = holder.get_value()
    if leading_axes(records) != lead:
        raise ValueError(
            "a transformation that maps the parameters of a FlowRNN must map its "
            "FlowRecordVariable over axis 0 for its error signals to be seen, as "
            "nnx.StateAxes({nnx.Param: 0, ...: 0}) does; got a record of "
            f"{leading_axes(records)} for a call of {lead}."
        )
    return records


def _parameter_shape(cell: nnx.Module) -> tuple[int, ...]:
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(nnx.state(cell, nnx.Param))]
    return shapes[0] if shapes else ()
